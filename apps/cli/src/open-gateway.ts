import {
  GATEWAY_NOT_REACHABLE,
  GatewayClient,
  isOnewriterError,
  OnewriterError,
  readDataDirIdentity,
} from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { withRedis } from './open-redis.ts';
import { operatorName } from './operator.ts';
import { findTokenSecret, type Target } from './target.ts';

/** How long an answer of the gateway may take where a command does not say. */
export const GATEWAY_TIMEOUT_MS = 60_000;

/**
 * The gateway of an installation, asked with the operator's token.
 * @throws OnewriterError MISCONFIGURED where no gateway is known, or no token can be had
 */
export async function openGateway(target: Target): Promise<GatewayClient> {
  const url = target.config.gatewayUrl ?? target.run?.gatewayUrl;
  if (url === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `No gateway is known: nothing runs on ${target.dataDir}. Start it, name its folder with --data-dir, or set ` +
        'ONEWRITER_GATEWAY_URL.',
    );
  }
  await assertOwnGateway(target);
  return new GatewayClient({ url, token: await findToken(target), explain: nameTheSetting });
}

function nameTheSetting(error: OnewriterError): OnewriterError {
  if (error.details.reason !== GATEWAY_NOT_REACHABLE) return error;
  const message = `${error.message} Check whether it runs, or set ONEWRITER_GATEWAY_URL.`;
  return new OnewriterError('MISCONFIGURED', message, {}, error);
}

/**
 * Refuses a gateway from the environment together with another installation's data directory: one of them is a mistake.
 * Checked only where Redis is known and answers; a machine without the data directory has nothing to compare.
 * @throws OnewriterError MISCONFIGURED
 */
async function assertOwnGateway(target: Target): Promise<void> {
  if (target.config.gatewayUrl === undefined || target.redisUrl === undefined) return;
  if (readDataDirIdentity(target.dataDir) === undefined) return;
  await withRedis(target, async () => {}).catch(error => {
    if (isOnewriterError(error) && error.details.reason === 'another data directory') throw error;
  });
}

/** ONEWRITER_TOKEN, or one that is signed with the secret, for some minutes. @throws OnewriterError MISCONFIGURED */
async function findToken(target: Target): Promise<string> {
  const { token, adminToken } = target.config;
  if (token !== undefined) return token;
  const secret = findTokenSecret(target);
  if (secret !== undefined) {
    // For the audit log: who runs this command, as with those that need no gateway.
    const options = { expiresInMs: 60 * 60_000, subject: operatorName() };
    return signToken(secret, { tenants: '*', access: 'admin' }, options);
  }
  if (adminToken !== undefined) return adminToken;
  throw new OnewriterError(
    'MISCONFIGURED',
    `There is no secret in ${target.dataDir} to sign a token with. Set ONEWRITER_TOKEN, or ONEWRITER_TOKEN_SECRET.`,
  );
}
