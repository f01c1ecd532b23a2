import { admitWrite } from '../admit-write.ts';
import { readJsonBody } from '../json-body.ts';
import { decodeJsonParameters } from '../parameter-values.ts';
import { readIdempotencyKey } from '../request-headers.ts';
import { authorizeTenant } from '../security/authorize.ts';
import { atStatement } from '../statement-index.ts';
import { type Api, addRoute } from './api.ts';
import { toStatementJson } from './query-route.ts';
import {
  createRoute,
  FAILURE,
  json,
  jsonBody,
  ScriptRequest,
  ScriptResponse,
  SECURED,
  TenantParam,
  TransactionRequest,
  TransactionResponse,
  WriteHeaders,
} from './schemas.ts';

const transaction = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/transaction',
  operationId: 'transaction',
  summary: 'Apply statements as a whole or not at all',
  description:
    'Reads among them see the writes before them. An error names the failing statement in details.statementIndex.',
  security: SECURED,
  request: { params: TenantParam, headers: WriteHeaders, body: jsonBody(TransactionRequest) },
  responses: { 200: json('One result per statement.', TransactionResponse), ...FAILURE },
});

const script = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/script',
  operationId: 'script',
  summary: 'Apply a script as a whole or not at all',
  description:
    'A dump, as an export or the sqlite3 shell writes it (PRAGMA foreign_keys=OFF; BEGIN; … COMMIT;), is a script, too; it ' +
    'takes no Idempotency-Key.',
  security: SECURED,
  request: { params: TenantParam, headers: WriteHeaders, body: jsonBody(ScriptRequest) },
  responses: { 200: json('It is committed.', ScriptResponse), ...FAILURE },
});

/** `POST /v1/tenants/{tenant}/transaction` and `…/script` */
export function addWriteRoutes(api: Api): void {
  const { options, guards } = api;
  addRoute(api, transaction, guards.token, guards.jsonBody, async c => {
    // Also one that only reads: all its statements see one state because the writer runs them.
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'write');
    const body = await readJsonBody(c, TransactionRequest, options.maxBodyBytes);
    const statements = body.statements.map(({ sql, params, expect }, index) => ({
      sql,
      params: atStatement(index, () => decodeJsonParameters(params)),
      ...(expect === null || expect === undefined ? {} : { expect }),
    }));
    const wait = await admitWrite(c, options, tenant, body.timeoutMs);
    const results = await options.onewriter.tenant(tenant).transaction(statements, {
      rowMode: 'array',
      safeIntegers: body.values === 'tagged',
      idempotencyKey: readIdempotencyKey(c),
      ...wait,
    });
    const commitSeq = results[0]!.commitSeq;
    c.header('Commit-Seq', String(commitSeq));
    const shape = { method: body.values === 'tagged' ? 'values' : 'all', values: body.values } as const;
    return c.json({ results: results.map(result => toStatementJson(result, shape)), commitSeq });
  });

  addRoute(api, script, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'write');
    const body = await readJsonBody(c, ScriptRequest, options.maxBodyBytes);
    const wait = await admitWrite(c, options, tenant, body.timeoutMs);
    const { commitSeq } = await options.onewriter.tenant(tenant).exec(body.sql, {
      idempotencyKey: readIdempotencyKey(c),
      ...wait,
    });
    c.header('Commit-Seq', String(commitSeq));
    return c.json({ commitSeq });
  });
}
