import type { Config } from '../config.ts';
import type { Logger } from '../logger.ts';
import type { Revocations } from './revocation.ts';
import { unauthenticated } from './token.ts';
import { cacheVerifiedTokens } from './token-cache.ts';
import { resolveTokenSecret } from './token-secret.ts';
import { createTokenVerifier, type TokenVerifier } from './token-verifier.ts';

/** The settings that say which tokens count. */
export type TokenSettings = Pick<
  Config,
  | 'tokenSecret'
  | 'tokenSecretPrevious'
  | 'tokenLifeMs'
  | 'adminToken'
  | 'tokenPublicKey'
  | 'tokenJwksUrl'
  | 'tokenIssuer'
  | 'tokenAudience'
>;

/**
 * The verifier of every Onewriter server, so that one token opens all: by the configured keys; if there are
 * none, by a secret of this process, with an admin token for it in the log. A revoked token is refused at once.
 *
 * @throws OnewriterError MISCONFIGURED for a key that cannot be read.
 */
export async function createConfiguredVerifier(
  settings: TokenSettings,
  revocations: Revocations,
  log: Logger,
): Promise<TokenVerifier> {
  const { tokenSecret, adminToken, tokenPublicKey, tokenJwksUrl } = settings;
  const hasOtherKeys = [adminToken, tokenPublicKey, tokenJwksUrl].some(key => key !== undefined);
  const secret =
    tokenSecret === undefined && hasOtherKeys ? undefined : await resolveTokenSecret(tokenSecret, log);
  const verify = cacheVerifiedTokens(
    createTokenVerifier({
      secret,
      previousSecret: settings.tokenSecretPrevious,
      lifeMs: settings.tokenLifeMs,
      adminToken,
      publicKey: tokenPublicKey,
      jwksUrl: tokenJwksUrl,
      issuer: settings.tokenIssuer,
      audience: settings.tokenAudience,
    }),
  );
  return async token => {
    const verified = await verify(token);
    if (await revocations.isRevoked(verified)) throw unauthenticated(undefined, 'The token was revoked.');
    return verified;
  };
}
