import { assertTenantId, isOnewriterError, OnewriterError } from '@onewriter/protocol';
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose';

/*
 * Tokens are JWTs signed with HS256 and the configured secret, so that a team's own services can issue them with any JWT
 * library. Claims:
 *
 *   tenants   list of tenant ids, or '*' for all
 *   access    'read' < 'write' < 'admin': a set of rights, each level includes the ones before it
 *   rights    instead of `access`: a list of rights, exactly these
 *   exp       RFC 7519; without it a token ends a configured time after its `iat`; with neither it is refused
 *   sub, jti  optional: whose it is, and its id, by which it can be revoked
 */

/** What a token can allow. See {@link RIGHTS_OF}. */
export const RIGHTS = ['read', 'write', 'export', 'import', 'admin:tenants', 'admin:fleet'] as const;

/**
 * `read`, `write`: statements of the token's tenants. `export`, `import`: whole tables and databases. `admin:tenants`: create, back up, check, restore,
 * pause, resume and delete them. `admin:fleet`, with all tenants: the dashboard, the audit log, revoking tokens.
 */
export type Right = (typeof RIGHTS)[number];

/** Access levels; each includes the ones before it. */
export const ACCESS_LEVELS = ['read', 'write', 'admin'] as const;

/** A usual set of rights. */
export type AccessLevel = (typeof ACCESS_LEVELS)[number];

/** The rights of each level. */
export const RIGHTS_OF: Readonly<Record<AccessLevel, readonly Right[]>> = Object.freeze({
  read: ['read', 'export'],
  write: ['read', 'export', 'write', 'import'],
  admin: RIGHTS,
});

/** What a token allows. */
export interface Access {
  /** Tenant ids, or '*' for all. */
  readonly tenants: readonly string[] | '*';
  readonly rights: readonly Right[];
}

/** What {@link signToken} writes into a token. */
export type Grant = Pick<Access, 'tenants'> & (Pick<Access, 'rights'> | { readonly access: AccessLevel });

/** The claims of a token that was verified. */
export interface TokenClaims extends Access {
  readonly subject: string | undefined;
  readonly jti: string | undefined;
  /** Ms since the epoch. */
  readonly issuedAtMs: number | undefined;
  /** Ms since the epoch. */
  readonly expiresAtMs: number;
}

/** Settings of {@link signToken}. */
export interface SignTokenOptions {
  /** The token ends after this; default: when the server's setting for tokens without `exp` says. */
  readonly expiresInMs?: number | undefined;
  readonly subject?: string | undefined;
  readonly jti?: string | undefined;
}

/** How long a token without `exp` is valid after its `iat`, unless a setting says otherwise. */
export const DEFAULT_TOKEN_LIFE_MS = 30 * 24 * 60 * 60_000;
/** Characters of `sub` that count. */
export const MAX_SUBJECT_LENGTH = 128;

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
 * Signs a token.
 * @throws OnewriterError MISCONFIGURED for a short secret, INVALID_TENANT for a tenant id that could never match.
 */
export async function signToken(
  secret: string,
  grant: Grant,
  options: SignTokenOptions = {},
): Promise<string> {
  const key = keyOf(secret);
  if (grant.tenants !== '*') for (const tenant of grant.tenants) assertTenantId(tenant);
  // To the millisecond: a token that is made right after its subject was revoked is a later one.
  const issuedAt = Date.now() / 1_000;
  const token = new SignJWT({ ...grant })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuedAt(issuedAt);
  if (options.expiresInMs !== undefined) {
    token.setExpirationTime(new Date(Date.now() + options.expiresInMs));
  }
  if (options.subject !== undefined) token.setSubject(options.subject);
  if (options.jti !== undefined) token.setJti(options.jti);
  return token.sign(key);
}

/**
 * Verifies a token. The signature is compared in constant time (WebCrypto's HMAC verify), only HS256 is accepted, and a
 * token whose claims are malformed is refused: an unknown level or right never turns into more access.
 *
 * @param lifeMs of a token without `exp`, after its `iat`; 0: it must have one
 * @throws OnewriterError UNAUTHENTICATED, MISCONFIGURED for a short secret.
 */
export async function verifyToken(
  secret: string,
  token: string,
  lifeMs = DEFAULT_TOKEN_LIFE_MS,
): Promise<TokenClaims> {
  const key = keyOf(secret);
  if (typeof token !== 'string' || token.length > MAX_TOKEN_LENGTH) throw unauthenticated();
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: ['HS256'],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
    });
    return readClaims(payload, lifeMs);
  } catch (cause) {
    throw toUnauthenticated(cause);
  }
}

/** The claims of a token whose signature is right. @throws OnewriterError UNAUTHENTICATED */
export function readClaims(payload: JWTPayload, lifeMs: number): TokenClaims {
  const { tenants, access, rights, sub, jti, iat, exp } = payload;
  if (!isListOf(tenants, tenant => typeof tenant === 'string') && tenants !== '*') throw unauthenticated();
  if ((access === undefined) === (rights === undefined)) throw unauthenticated();
  if (access !== undefined && !isAccessLevel(access)) throw unauthenticated();
  if (rights !== undefined && !isListOf(rights, right => RIGHTS.includes(right as Right)))
    throw unauthenticated();
  const issuedAtMs = iat === undefined ? undefined : Math.round(iat * 1_000);
  const expiresAtMs =
    exp !== undefined
      ? exp * 1_000
      : issuedAtMs !== undefined && lifeMs > 0
        ? issuedAtMs + lifeMs
        : undefined;
  if (expiresAtMs === undefined)
    throw unauthenticated(
      undefined,
      lifeMs > 0 ? 'The token has neither "exp" nor "iat".' : 'The token has no "exp".',
    );
  if (hasEnded(expiresAtMs)) throw expired();
  return {
    tenants: tenants as string[] | '*',
    rights: (rights as Right[] | undefined) ?? RIGHTS_OF[access as AccessLevel],
    subject: typeof sub === 'string' ? sub.slice(0, MAX_SUBJECT_LENGTH) : undefined,
    jti: typeof jti === 'string' ? jti : undefined,
    issuedAtMs,
    expiresAtMs,
  };
}

/** Whether a token that ends then has ended, as far as clocks agree. */
export function hasEnded(expiresAtMs: number): boolean {
  return Date.now() >= expiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000;
}

/** Whether `access` covers `tenant`. */
export function coversTenant(access: Access, tenant: string): boolean {
  return access.tenants === '*' || access.tenants.includes(tenant);
}

/**
 * Refuses a request the token does not allow; `tenant` undefined asks for the right alone.
 * @throws OnewriterError FORBIDDEN
 */
export function assertAccess(access: Access, right: Right, tenant?: string | undefined): void {
  if (tenant !== undefined && !coversTenant(access, tenant)) {
    throw new OnewriterError('FORBIDDEN', `The token does not cover tenant ${tenant}.`, { tenant });
  }
  if (!access.rights.includes(right)) {
    throw new OnewriterError('FORBIDDEN', `This needs a token with the right "${right}".`, { needs: right });
  }
}

function isAccessLevel(value: unknown): value is AccessLevel {
  return ACCESS_LEVELS.includes(value as AccessLevel);
}

function isListOf(value: unknown, check: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(check);
}

/** The answer to what is not a valid token. Only of a token whose signature is right the message may say why. */
export function unauthenticated(
  cause?: unknown,
  message = 'A valid bearer token is required.',
): OnewriterError {
  return new OnewriterError('UNAUTHENTICATED', message, {}, cause);
}

function expired(cause?: unknown): OnewriterError {
  return unauthenticated(cause, 'The token has expired.');
}

/** What jose throws, as an error of Onewriter. It checks the claims after the signature. */
export function toUnauthenticated(error: unknown): OnewriterError {
  if (isOnewriterError(error)) return error;
  return error instanceof errors.JWTExpired ? expired(error) : unauthenticated(error);
}
