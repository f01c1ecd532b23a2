import { assertTenantId, OnewriterError } from '@onewriter/protocol';
import { jwtVerify, SignJWT } from 'jose';

/*
 * Tokens are JWTs signed with HS256 and the configured secret, so that a team's own services can issue them with
 * any JWT library. Claims of ours:
 *
 *   tenants   list of tenant ids, or '*' for all
 *   access    'read' < 'write' < 'admin': each level includes the ones before it
 *   exp       optional, seconds since the epoch, as RFC 7519 defines it
 */

/** Access levels; each includes the ones before it. */
export const ACCESS_LEVELS = ['read', 'write', 'admin'] as const;

/** `read`: reads of the token's tenants. `write`: also writes. `admin`: also the dashboard and operations. */
export type AccessLevel = (typeof ACCESS_LEVELS)[number];

/** What a token allows. */
export interface Access {
  /** Tenant ids, or '*' for all. */
  readonly tenants: readonly string[] | '*';
  readonly access: AccessLevel;
}

/** Settings of {@link signToken}. */
export interface SignTokenOptions {
  /** The token stops being valid after this; without it the token is valid until the secret changes. */
  readonly expiresInMs?: number | undefined;
}

/** The shortest secret that is accepted, in characters. */
export const MIN_SECRET_LENGTH = 16;

/** A longer token is refused unread: hashing it would cost the server time. */
export const MAX_TOKEN_LENGTH = 16 * 1024;

/** Clocks of issuer and verifier may differ by this. */
export const CLOCK_TOLERANCE_SECONDS = 5;

function keyOf(secret: string): Uint8Array {
  if (secret.length < MIN_SECRET_LENGTH) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `The token secret has fewer than ${MIN_SECRET_LENGTH} characters; set ONEWRITER_TOKEN_SECRET.`,
    );
  }
  return new TextEncoder().encode(secret);
}

/**
 * Signs a token for `access`.
 * @throws OnewriterError MISCONFIGURED for a short secret, INVALID_TENANT for a tenant id that could never match.
 */
export async function signToken(
  secret: string,
  access: Access,
  options: SignTokenOptions = {},
): Promise<string> {
  const key = keyOf(secret);
  if (access.tenants !== '*') for (const tenant of access.tenants) assertTenantId(tenant);
  const token = new SignJWT({ tenants: access.tenants, access: access.access })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuedAt();
  if (options.expiresInMs !== undefined) {
    token.setExpirationTime(new Date(Date.now() + options.expiresInMs));
  }
  return token.sign(key);
}

/**
 * Verifies a token and returns what it allows. The signature is compared in constant time (WebCrypto's HMAC
 * verify), only HS256 is accepted, and a token whose claims are not exactly ours is refused: an unknown access
 * level or a malformed tenant list never turns into more access.
 *
 * @throws OnewriterError UNAUTHENTICATED (which check failed is in `cause`, not in the message), MISCONFIGURED
 * for a short secret.
 */
export async function verifyToken(secret: string, token: string): Promise<Access> {
  const key = keyOf(secret);
  if (typeof token !== 'string' || token.length > MAX_TOKEN_LENGTH) throw unauthenticated();
  let claims: Record<string, unknown>;
  try {
    const verified = await jwtVerify(token, key, {
      algorithms: ['HS256'],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
    });
    claims = verified.payload;
  } catch (cause) {
    throw unauthenticated(cause);
  }
  return readAccess(claims);
}

/** The access that a verified token's claims give. @throws OnewriterError UNAUTHENTICATED */
export function readAccess({ tenants, access }: Readonly<Record<string, unknown>>): Access {
  const validTenants =
    tenants === '*' || (Array.isArray(tenants) && tenants.every(tenant => typeof tenant === 'string'));
  if (!validTenants || !isAccessLevel(access)) throw unauthenticated();
  return { tenants, access };
}

/** Whether `access` includes `level`. */
export function hasLevel(access: Access, level: AccessLevel): boolean {
  return ACCESS_LEVELS.indexOf(access.access) >= ACCESS_LEVELS.indexOf(level);
}

/** Whether `access` covers `tenant`. */
export function coversTenant(access: Access, tenant: string): boolean {
  return access.tenants === '*' || access.tenants.includes(tenant);
}

/**
 * Refuses a request the token does not allow; `tenant` undefined asks for the level alone.
 * @throws OnewriterError FORBIDDEN
 */
export function assertAccess(access: Access, level: AccessLevel, tenant?: string | undefined): void {
  if (tenant !== undefined && !coversTenant(access, tenant)) {
    throw new OnewriterError('FORBIDDEN', `The token does not cover tenant ${tenant}.`, { tenant });
  }
  if (!hasLevel(access, level)) {
    throw new OnewriterError('FORBIDDEN', `This needs a token with access "${level}".`, { needs: level });
  }
}

function isAccessLevel(value: unknown): value is AccessLevel {
  return ACCESS_LEVELS.includes(value as AccessLevel);
}

/** The answer to whatever is not a valid token; which check failed is in its cause. */
export function unauthenticated(cause?: unknown): OnewriterError {
  return new OnewriterError('UNAUTHENTICATED', 'A valid bearer token is required.', {}, cause);
}
