import { createHash, createPublicKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { createRemoteJWKSet, decodeProtectedHeader, errors, type JWTVerifyGetKey, jwtVerify } from 'jose';
import {
  CLOCK_TOLERANCE_SECONDS,
  DEFAULT_TOKEN_LIFE_MS,
  MAX_TOKEN_LENGTH,
  MIN_SECRET_LENGTH,
  RIGHTS,
  readClaims,
  type TokenClaims,
  toUnauthenticated,
  unauthenticated,
  verifyToken,
} from './token.ts';

/*
 * What a server accepts as a token, by the algorithm in its header; each has keys of its own, so that a public key can
 * never be used as a secret:
 *
 *   the admin token   a fixed text from the environment: access admin to all tenants
 *   HS256             the secret, or the one before it
 *   RS256, EdDSA      the public key, or one of a key set that is fetched (JWKS) and cached
 */

/** Settings of {@link createTokenVerifier}; at least one kind of key. */
export interface TokenVerifierOptions {
  /** For HS256. */
  readonly secret?: string | undefined;
  /** The secret before this one: tokens signed with it stay valid while secrets are changed. */
  readonly previousSecret?: string | undefined;
  /** How long a token without `exp` is valid after its `iat`; 0: it must have one. Default: 30 days. */
  readonly lifeMs?: number | undefined;
  /** Accepted as it is. */
  readonly adminToken?: string | undefined;
  /** For RS256 or EdDSA: PEM, or the path of a PEM file. */
  readonly publicKey?: string | undefined;
  /** For RS256 or EdDSA: where the key set is. */
  readonly jwksUrl?: string | undefined;
  /** Tokens signed with a public key must have this `iss`. */
  readonly issuer?: string | undefined;
  /** Tokens signed with a public key must have this `aud`. */
  readonly audience?: string | undefined;
}

/** What a token allows, and whose it is. */
export interface VerifiedToken extends TokenClaims {
  /** The same for every use of this token, which cannot be found from it. For limits and logs. */
  readonly id: string;
}

/**
 * Verifies a token.
 * @throws OnewriterError UNAUTHENTICATED, KEYS_UNAVAILABLE
 */
export type TokenVerifier = (token: string) => Promise<VerifiedToken>;

const PUBLIC_KEY_ALGORITHMS = ['RS256', 'EdDSA'];
const JWKS_TIMEOUT_MS = 3_000;
/** An unknown key id causes the key set to be fetched again, but not more often than this. */
const JWKS_COOLDOWN_MS = 30_000;

/** A verifier for the keys that are configured. @throws OnewriterError MISCONFIGURED for a key that cannot be read. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { secret, previousSecret, adminToken, issuer, audience, lifeMs = DEFAULT_TOKEN_LIFE_MS } = options;
  for (const one of [secret, previousSecret]) {
    if (one === undefined || one.length >= MIN_SECRET_LENGTH) continue;
    throw new OnewriterError(
      'MISCONFIGURED',
      `A token secret has fewer than ${MIN_SECRET_LENGTH} characters.`,
    );
  }
  const adminDigest = adminToken === undefined ? undefined : digest(adminToken);
  const publicKey = options.publicKey === undefined ? undefined : readPublicKey(options.publicKey);
  const keySet =
    options.jwksUrl === undefined
      ? undefined
      : createRemoteJWKSet(new URL(options.jwksUrl), {
          timeoutDuration: JWKS_TIMEOUT_MS,
          cooldownDuration: JWKS_COOLDOWN_MS,
        });
  const claims = {
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
  };

  async function verifyWithSecret(token: string): Promise<TokenClaims> {
    try {
      return await verifyToken(secret!, token, lifeMs);
    } catch (error) {
      if (previousSecret === undefined || !isWrongSignature(error)) throw error;
      return verifyToken(previousSecret, token, lifeMs);
    }
  }

  async function verifyWithPublicKey(token: string): Promise<TokenClaims> {
    let cause: unknown;
    if (publicKey !== undefined) {
      try {
        const { key, algorithm } = publicKey;
        const { payload } = await jwtVerify(token, key, { ...claims, algorithms: [algorithm] });
        return readClaims(payload, lifeMs);
      } catch (error) {
        cause = error;
      }
    }
    if (keySet !== undefined) return readClaims(await verifyWithKeySet(token, keySet), lifeMs);
    throw toUnauthenticated(cause);
  }

  async function verifyWithKeySet(token: string, keys: JWTVerifyGetKey) {
    try {
      return (await jwtVerify(token, keys, { ...claims, algorithms: PUBLIC_KEY_ALGORITHMS })).payload;
    } catch (error) {
      if (
        error instanceof errors.JOSEError &&
        !(error instanceof errors.JWKSTimeout) &&
        !isFetchFailure(error)
      ) {
        throw toUnauthenticated(error);
      }
      throw new OnewriterError(
        'KEYS_UNAVAILABLE',
        'The key set for tokens cannot be fetched; try again.',
        {
          retryAfterMs: 1_000,
        },
        error,
      );
    }
  }

  return async token => {
    if (typeof token !== 'string' || token.length > MAX_TOKEN_LENGTH) throw unauthenticated();
    const id = tokenId(token);
    if (adminDigest !== undefined && timingSafeEqual(digest(token), adminDigest)) return { ...ADMIN, id };
    // Else one token would have several texts: each a share of its own, and none but one of them revoked.
    if (canonicalToken(token) !== token) throw unauthenticated();
    const header = readHeader(token);
    if (header === 'HS256' && secret !== undefined) return { ...(await verifyWithSecret(token)), id };
    if (PUBLIC_KEY_ALGORITHMS.includes(header)) return { ...(await verifyWithPublicKey(token)), id };
    throw unauthenticated();
  };
}

/** What the fixed admin token allows. It ends with the setting. */
const ADMIN: TokenClaims = Object.freeze({
  tenants: '*',
  rights: RIGHTS,
  subject: 'admin token',
  jti: undefined,
  issuedAtMs: undefined,
  expiresAtMs: Number.POSITIVE_INFINITY,
});

function isWrongSignature(error: unknown): boolean {
  return error instanceof OnewriterError && error.cause instanceof errors.JWSSignatureVerificationFailed;
}

/** The id of a token in logs and limits, the same for every text of it; the token cannot be found from it. */
export function tokenId(token: string): string {
  return digest(canonicalToken(token)).toString('hex').slice(0, 16);
}

/**
 * The only text of a token that is accepted. The signature covers the text of header and payload, but not its own: base64url
 * decoders ignore padding, white space and the unused bits of the last character.
 */
function canonicalToken(token: string): string {
  const start = token.lastIndexOf('.') + 1;
  if (start === 0) return token;
  return token.slice(0, start) + Buffer.from(token.slice(start), 'base64url').toString('base64url');
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** The algorithm that the token says; '' where it is not a token. */
function readHeader(token: string): string {
  try {
    return decodeProtectedHeader(token).alg ?? '';
  } catch {
    return '';
  }
}

/** jose answers with its base class where the key set is not 200 or not JSON. */
function isFetchFailure(error: errors.JOSEError): boolean {
  return error.code === 'ERR_JOSE_GENERIC' || error instanceof errors.JWKSInvalid;
}

function readPublicKey(text: string): { readonly key: KeyObject; readonly algorithm: string } {
  try {
    const key = createPublicKey(text.includes('-----BEGIN') ? text : readFileSync(text, 'utf8'));
    if (key.asymmetricKeyType === 'rsa') return { key, algorithm: 'RS256' };
    if (key.asymmetricKeyType === 'ed25519') return { key, algorithm: 'EdDSA' };
  } catch (cause) {
    throw misconfigured(cause);
  }
  throw misconfigured(undefined);
}

function misconfigured(cause: unknown): OnewriterError {
  const message =
    'ONEWRITER_TOKEN_PUBLIC_KEY is neither an RSA or Ed25519 public key in PEM nor a file of one.';
  return new OnewriterError('MISCONFIGURED', message, {}, cause);
}
