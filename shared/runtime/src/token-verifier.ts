import { createHash, createPublicKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { createRemoteJWKSet, decodeProtectedHeader, errors, type JWTVerifyGetKey, jwtVerify } from 'jose';
import {
  type Access,
  CLOCK_TOLERANCE_SECONDS,
  MAX_TOKEN_LENGTH,
  MIN_SECRET_LENGTH,
  readAccess,
  unauthenticated,
  verifyToken,
} from './token.ts';

/*
 * What a server accepts as a token, by the algorithm in its header; each has keys of its own, so that a public key can
 * never be taken for a secret:
 *
 *   the admin token   a fixed text from the environment: access admin to all tenants
 *   HS256             the secret
 *   RS256, EdDSA      the public key, or one of a key set that is fetched (JWKS) and cached
 */

/** Settings of {@link createTokenVerifier}; at least one kind of key. */
export interface TokenVerifierOptions {
  /** For HS256. */
  readonly secret?: string | undefined;
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
export interface VerifiedToken extends Access {
  /** The same for every use of this token; tells nothing about it. For limits and logs. */
  readonly id: string;
  /** The claim `sub`, where there is one; `admin token` for the fixed one. */
  readonly subject: string | undefined;
}

/**
 * Verifies a token.
 * @throws OnewriterError UNAUTHENTICATED, KEYS_UNAVAILABLE
 */
export type TokenVerifier = (token: string) => Promise<VerifiedToken>;

const PUBLIC_KEY_ALGORITHMS = ['RS256', 'EdDSA'];
const JWKS_TIMEOUT_MS = 3_000;
/** An unknown key id has the key set fetched anew, but not more often than this. */
const JWKS_COOLDOWN_MS = 30_000;
const MAX_SUBJECT_LENGTH = 128;

/** A verifier for the keys that are configured. @throws OnewriterError MISCONFIGURED for a key that cannot be read. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { secret, adminToken, issuer, audience } = options;
  if (secret !== undefined && secret.length < MIN_SECRET_LENGTH) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `The token secret has fewer than ${MIN_SECRET_LENGTH} characters.`,
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

  async function verifyWithPublicKey(token: string): Promise<Access> {
    let cause: unknown;
    if (publicKey !== undefined) {
      try {
        const { key, algorithm } = publicKey;
        return readAccess((await jwtVerify(token, key, { ...claims, algorithms: [algorithm] })).payload);
      } catch (error) {
        cause = error;
      }
    }
    if (keySet !== undefined) return readAccess(await verifyWithKeySet(token, keySet));
    throw unauthenticated(cause);
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
        throw unauthenticated(error);
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
    const hash = digest(token);
    const id = hash.toString('hex').slice(0, 16);
    if (adminDigest !== undefined && timingSafeEqual(hash, adminDigest)) {
      return { tenants: '*', access: 'admin', id, subject: 'admin token' };
    }
    const header = readHeader(token);
    let access: Access;
    if (header === 'HS256' && secret !== undefined) access = await verifyToken(secret, token);
    else if (PUBLIC_KEY_ALGORITHMS.includes(header)) access = await verifyWithPublicKey(token);
    else throw unauthenticated();
    return { ...access, id, subject: subjectOf(token) };
  };
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

/** `sub` of a token that was verified. */
function subjectOf(token: string): string | undefined {
  const payload = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString('utf8')) as {
    sub?: unknown;
  };
  return typeof payload.sub === 'string' ? payload.sub.slice(0, MAX_SUBJECT_LENGTH) : undefined;
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
