import { OnewriterError } from '@onewriter/protocol';
import { ACCESS_LEVELS, type AccessLevel, signToken } from '@onewriter/runtime';
import { findTarget, findTokenSecret } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter token`, as the command line gives them. */
export interface TokenOptions {
  readonly dataDir?: string | undefined;
  /** Tenant ids with commas between them, or '*'. */
  readonly tenants: string;
  readonly access: string;
  /** '30m', '24h', '7d'; without it the token is valid until the secret changes. */
  readonly expires?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter token --json` prints. */
export interface TokenSummary {
  readonly token: string;
  readonly tenants: readonly string[] | '*';
  readonly access: AccessLevel;
  /** ISO time; null: it is valid until the secret changes. */
  readonly expiresAt: string | null;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Prints a signed token. @throws OnewriterError MISCONFIGURED, INVALID_ARGUMENT, INVALID_TENANT */
export async function token(options: TokenOptions): Promise<number> {
  const target = findTarget(options.dataDir);
  const secret = findTokenSecret(target);
  if (secret === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `There is no secret in ${target.dataDir} yet. Start Onewriter there once, or set ONEWRITER_TOKEN_SECRET.`,
    );
  }
  if (!ACCESS_LEVELS.includes(options.access as AccessLevel)) {
    throw new UsageError(`--access is one of ${ACCESS_LEVELS.join(', ')}.`);
  }
  const tenants = options.tenants === '*' ? '*' : options.tenants.split(',');
  const access = options.access as AccessLevel;
  const expiresInMs = parseDuration(options.expires);
  const token = await signToken(secret, { tenants, access }, { expiresInMs });
  const expiresAt = expiresInMs === undefined ? null : new Date(Date.now() + expiresInMs).toISOString();
  const summary: TokenSummary = { token, tenants, access, expiresAt };
  process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : `${token}\n`);
  return 0;
}

/** @throws OnewriterError INVALID_ARGUMENT */
export function parseDuration(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  const ms = match ? Number(match[1]) * UNIT_MS[match[2]!]! : 0;
  if (ms > 0) return ms;
  throw new UsageError('--expires is a duration such as 30m, 24h or 7d.');
}
