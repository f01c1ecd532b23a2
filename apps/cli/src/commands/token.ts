import { randomUUID } from 'node:crypto';
import { OnewriterError } from '@onewriter/protocol';
import {
  ACCESS_LEVELS,
  type AccessLevel,
  type Grant,
  type Revocation,
  RevocationFiles,
  RIGHTS,
  RIGHTS_OF,
  type Right,
  signToken,
  tokenId,
} from '@onewriter/runtime';
import { formatTable } from '../table.ts';
import { findTarget, findTokenSecret, requireDataDir } from '../target.ts';
import { UsageError } from '../usage-error.ts';

interface CommonOptions {
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Options of `onewriter token`, as the command line gives them. */
export interface TokenOptions extends CommonOptions {
  /** Tenant ids with commas between them, or '*'. */
  readonly tenants?: string | undefined;
  readonly access?: string | undefined;
  /** Rights with commas between them. */
  readonly rights?: string | undefined;
  readonly subject?: string | undefined;
  /** '30m', '24h', '7d' */
  readonly expiresIn: string;
}

/** What `onewriter token --json` prints. */
export interface TokenSummary {
  readonly token: string;
  readonly jti: string;
  readonly subject: string | null;
  readonly tenants: readonly string[] | '*';
  /** null where rights were given. */
  readonly access: AccessLevel | null;
  readonly rights: readonly Right[];
  /** ISO time. */
  readonly expiresAt: string;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Prints a signed token. @throws OnewriterError MISCONFIGURED, INVALID_ARGUMENT, INVALID_TENANT */
export async function token(options: TokenOptions): Promise<number> {
  if (options.tenants === undefined)
    throw new UsageError("--tenants is missing: tenant ids with commas between them, or '*' for all.");
  const tenants = options.tenants === '*' ? '*' : options.tenants.split(',');
  const grant = readGrant(tenants, options);
  const expiresInMs = parseDuration(options.expiresIn);
  const target = findTarget(options.dataDir);
  const secret = findTokenSecret(target);
  if (secret === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `There is no secret in ${target.dataDir} yet. Start Onewriter there once, or set ONEWRITER_TOKEN_SECRET.`,
    );
  }
  const { subject } = options;
  const jti = randomUUID();
  const token = await signToken(secret, grant, { expiresInMs, subject, jti });
  const access = 'access' in grant ? grant.access : null;
  const rights = 'access' in grant ? RIGHTS_OF[grant.access] : grant.rights;
  const expiresAt = new Date(Date.now() + expiresInMs).toISOString();
  const summary: TokenSummary = { token, jti, subject: subject ?? null, tenants, access, rights, expiresAt };
  process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : `${token}\n`);
  return 0;
}

/** Revokes a token, or all of a subject. @throws OnewriterError MISCONFIGURED, INVALID_ARGUMENT */
export async function revokeToken(
  given: string | undefined,
  options: CommonOptions & { readonly subject?: string | undefined },
): Promise<number> {
  const { subject } = options;
  if ((given === undefined) === (subject === undefined))
    throw new UsageError('Name a token, its id (jti), or a --subject.');
  const revocation = subject === undefined ? describeToken(given!) : revoke('subject', subject);
  findRevocations(options).add(revocation);
  const { kind, value } = revocation;
  process.stdout.write(
    options.json
      ? `${JSON.stringify(toJson(revocation))}\n`
      : `Revoked: ${kind === 'subject' ? `all tokens of ${value} issued until now` : `${kind} ${value}`}.\n`,
  );
  return 0;
}

/** Prints what is revoked. @throws OnewriterError MISCONFIGURED */
export async function listRevokedTokens(options: CommonOptions): Promise<number> {
  const revoked = findRevocations(options).list().map(toJson);
  if (options.json) process.stdout.write(`${JSON.stringify({ revoked })}\n`);
  else if (revoked.length === 0) process.stdout.write('No token is revoked.\n');
  else {
    const rows = revoked.map(({ kind, value, at, until }) => [kind, value, at, until ?? '-']);
    process.stdout.write(formatTable(['kind', 'value', 'revoked', 'ends'], rows));
  }
  return 0;
}

function findRevocations(options: CommonOptions): RevocationFiles {
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  return new RevocationFiles(target.dataDir);
}

/** By its `jti`, or for a token without one by its id in logs. */
function describeToken(text: string): Revocation {
  const given = text.trim().replace(/^Bearer\s+/i, '');
  const [, payload, signature] = given.split('.');
  if (payload === undefined || signature === undefined) return revoke('jti', given);
  let claims: { readonly jti?: unknown; readonly exp?: unknown };
  try {
    claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as object;
  } catch {
    throw new UsageError('This is neither a token nor the id of one.');
  }
  const untilMs = typeof claims.exp === 'number' ? claims.exp * 1_000 : null;
  if (typeof claims.jti === 'string') return revoke('jti', claims.jti, untilMs);
  return revoke('token', tokenId(given), untilMs);
}

function revoke(kind: Revocation['kind'], value: string, untilMs: number | null = null): Revocation {
  return { kind, value, atMs: Date.now(), untilMs };
}

function toJson({ kind, value, atMs, untilMs }: Revocation) {
  return {
    kind,
    value,
    at: new Date(atMs).toISOString(),
    until: untilMs === null ? null : new Date(untilMs).toISOString(),
  };
}

function readGrant(tenants: readonly string[] | '*', { access, rights }: TokenOptions): Grant {
  if (rights !== undefined) {
    if (access !== undefined) throw new UsageError('Give --access or --rights, not both.');
    const list = rights.split(',');
    if (!list.every(right => RIGHTS.includes(right as Right)))
      throw new UsageError(`--rights are of ${RIGHTS.join(', ')}.`);
    return { tenants, rights: list as Right[] };
  }
  const level = access ?? 'write';
  if (!ACCESS_LEVELS.includes(level as AccessLevel))
    throw new UsageError(`--access is one of ${ACCESS_LEVELS.join(', ')}.`);
  return { tenants, access: level as AccessLevel };
}

/** @returns ms. @throws OnewriterError INVALID_ARGUMENT */
export function parseDuration(text: string): number {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  const ms = match ? Number(match[1]) * UNIT_MS[match[2]!]! : 0;
  if (ms > 0) return ms;
  throw new UsageError('--expires-in is a duration such as 30m, 24h or 7d.');
}
