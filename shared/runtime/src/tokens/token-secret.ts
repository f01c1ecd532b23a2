import { randomBytes } from 'node:crypto';
import type { Logger } from '../logger.ts';
import { DEFAULT_TOKEN_LIFE_MS, signToken } from './token.ts';

/**
 * The configured secret; without one a random secret of this process, with an admin token for it in the log, once:
 * a server never runs open, and a person who tries it out can still get in.
 */
export async function resolveTokenSecret(configured: string | undefined, log: Logger): Promise<string> {
  if (configured !== undefined) return configured;
  const secret = randomBytes(32).toString('base64url');
  const expiresInMs = DEFAULT_TOKEN_LIFE_MS;
  const token = await signToken(secret, { tenants: '*', access: 'admin' }, { expiresInMs });
  log.warn(
    { token },
    'ONEWRITER_TOKEN_SECRET is not set: this admin token is valid for 30 days or until this process ends, and only here',
  );
  return secret;
}
