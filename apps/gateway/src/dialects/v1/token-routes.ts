import { OnewriterError } from '@onewriter/protocol';
import { MAX_TOKEN_LENGTH, REVOCATION_KINDS, type Revocation, tokenId } from '@onewriter/runtime';
import { readJsonBody } from '../../bodies/json-body.ts';
import { assertAdminOfAll } from '../../security/authorize.ts';
import { type Api, addRoute } from './api.ts';
import { createRoute, FAILURE, json, SECURED, z } from './schemas.ts';

const MAX_VALUE_LENGTH = 512;
const TOKEN = /^[\w-]+\.([\w-]+)\.[\w-]+$/;
const TOKEN_ID = /^[0-9a-f]{16}$/;
const value = z.string().min(1).max(MAX_VALUE_LENGTH);

const RevokeRequest = z
  .object({
    jti: value.optional().openapi({ description: 'The token with this "jti".' }),
    token: z.string().min(1).max(MAX_TOKEN_LENGTH).optional().openapi({
      description: 'One token: itself, or the id that it has in the audit log. The token itself is not kept.',
    }),
    subject: value
      .optional()
      .openapi({ description: 'All tokens of this "sub" that were issued until now.' }),
    until: z.iso
      .datetime()
      .optional()
      .openapi({ description: 'When the token ends anyway: then the entry is no longer needed.' }),
  })
  .openapi('RevokeRequest');

const Entry = z
  .object({
    kind: z.enum(REVOCATION_KINDS),
    value: z.string(),
    at: z.string(),
    until: z.string().nullable(),
  })
  .openapi('Revocation');

const revoke = createRoute({
  method: 'post',
  path: '/v1/tokens/revoke',
  operationId: 'revokeToken',
  summary: 'Revoke tokens before they end',
  description:
    'Name one of jti, token, subject. Every gateway and dashboard refuses them within two seconds, and ends streams and ' +
    'transactions that they hold. Needs the right admin:fleet for all tenants.',
  security: SECURED,
  request: { body: { required: true, content: { 'application/json': { schema: RevokeRequest } } } },
  responses: { 200: json('The entry.', Entry), ...FAILURE },
});

const list = createRoute({
  method: 'get',
  path: '/v1/tokens/revoked',
  operationId: 'listRevokedTokens',
  summary: 'What is revoked, the newest first',
  description: 'Needs the right admin:fleet for all tenants.',
  security: SECURED,
  responses: {
    200: json('The entries.', z.object({ revoked: z.array(Entry) }).openapi('RevocationList')),
    ...FAILURE,
  },
});

/** `POST /v1/tokens/revoke`, `GET /v1/tokens/revoked` */
export function addTokenRoutes(api: Api): void {
  const { options, guards } = api;
  addRoute(api, revoke, guards.token, guards.jsonBody, async c => {
    assertAdminOfAll(c);
    const body = await readJsonBody(c, RevokeRequest);
    const given = REVOCATION_KINDS.filter(kind => body[kind] !== undefined);
    if (given.length !== 1)
      throw new OnewriterError('INVALID_ARGUMENT', 'Name one of jti, token and subject.');
    const untilMs = body.until === undefined ? undefined : Date.parse(body.until);
    const revocation = toRevocation(given[0]!, body[given[0]!]!, untilMs);
    await options.audit.record(c, 'token.revoke', '', async () => options.revocations.add(revocation));
    return c.json(toEntry(revocation));
  });

  addRoute(api, list, guards.token, async c => {
    assertAdminOfAll(c);
    return c.json({ revoked: options.revocations.list().map(toEntry) });
  });
}

/** Of a token itself only what names it is kept: the list, and the files, are no place for a token. */
function toRevocation(kind: Revocation['kind'], value: string, untilMs: number | undefined): Revocation {
  const common = { atMs: Date.now(), untilMs: untilMs ?? null };
  const claims = readUnverified(value);
  if (claims === undefined) {
    // Else nothing would have this id: the answer would be 200 and the token would still count.
    if (kind === 'token' && !TOKEN_ID.test(value))
      throw new OnewriterError('INVALID_ARGUMENT', 'token is neither a token nor the id of one.');
    return { ...common, kind, value };
  }
  if (kind !== 'token')
    throw new OnewriterError('INVALID_ARGUMENT', `This is a token, no ${kind}: send it as token.`);
  const { jti, exp } = claims;
  if (untilMs === undefined && typeof exp === 'number' && Number.isFinite(new Date(exp * 1_000).getTime()))
    common.untilMs = exp * 1_000;
  return typeof jti === 'string'
    ? { ...common, kind: 'jti', value: jti }
    : { ...common, kind: 'token', value: tokenId(value) };
}

/** The claims of a token; undefined where this is none. What is revoked need not be valid. */
function readUnverified(text: string): { readonly jti?: unknown; readonly exp?: unknown } | undefined {
  const [, payload] = TOKEN.exec(text) ?? [];
  if (payload === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null ? claims : undefined;
  } catch {
    return undefined;
  }
}

function toEntry({ kind, value, atMs, untilMs }: Revocation) {
  return {
    kind,
    value,
    at: new Date(atMs).toISOString(),
    until: untilMs === null ? null : new Date(untilMs).toISOString(),
  };
}
