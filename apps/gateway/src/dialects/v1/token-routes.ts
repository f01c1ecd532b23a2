import { OnewriterError } from '@onewriter/protocol';
import { REVOCATION_KINDS, type Revocation } from '@onewriter/runtime';
import { readJsonBody } from '../../bodies/json-body.ts';
import { assertAdminOfAll } from '../../security/authorize.ts';
import { type Api, addRoute } from './api.ts';
import { createRoute, FAILURE, json, SECURED, z } from './schemas.ts';

const MAX_VALUE_LENGTH = 512;
const value = z.string().min(1).max(MAX_VALUE_LENGTH);

const RevokeRequest = z
  .object({
    jti: value.optional().openapi({ description: 'The token with this "jti".' }),
    token: value
      .optional()
      .openapi({ description: 'One token, by the id that it has in the audit log; not the token itself.' }),
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
    const body = await readJsonBody(c, RevokeRequest, options.maxBodyBytes);
    const given = REVOCATION_KINDS.filter(kind => body[kind] !== undefined);
    if (given.length !== 1)
      throw new OnewriterError('INVALID_ARGUMENT', 'Name one of jti, token and subject.');
    const kind = given[0]!;
    const untilMs = body.until === undefined ? null : Date.parse(body.until);
    const revocation: Revocation = { kind, value: body[kind]!, atMs: Date.now(), untilMs };
    await options.audit.record(c, 'token.revoke', '', async () => options.revocations.add(revocation));
    return c.json(toEntry(revocation));
  });

  addRoute(api, list, guards.token, async c => {
    assertAdminOfAll(c);
    return c.json({ revoked: options.revocations.list().map(toEntry) });
  });
}

function toEntry({ kind, value, atMs, untilMs }: Revocation) {
  return {
    kind,
    value,
    at: new Date(atMs).toISOString(),
    until: untilMs === null ? null : new Date(untilMs).toISOString(),
  };
}
