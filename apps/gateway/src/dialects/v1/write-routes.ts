import { readStatements } from '../../bodies/json-body.ts';
import { sealedOf } from '../../bodies/statement-body.ts';
import { admitWrite } from '../../http/admit-write.ts';
import { readIdempotencyKey } from '../../http/request-headers.ts';
import { authorizeTenant } from '../../security/authorize.ts';
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
    'A dump, or the rebuild of a table (PRAGMA foreign_keys=OFF; BEGIN; … COMMIT;), is a script, too. It runs alone and ' +
    'without foreign keys; references that it breaks are CONSTRAINT_VIOLATION, and nothing is applied.',
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
    const body = await readStatements(c, 'transaction', options);
    const { fields, statements } = body;
    const wait = await admitWrite(c, options, tenant, fields.timeoutMs);
    const database = options.onewriter.tenant(tenant);
    const sealed = sealedOf(body);
    const shaped = { rowMode: 'array', safeIntegers: fields.values === 'tagged', ...wait } as const;
    const results =
      sealed === undefined
        ? await database.transaction(statements, {
            idempotencyKey: readIdempotencyKey(c),
            durable: fields.durable,
            ...shaped,
          })
        : (await database.sendSealed(sealed, shaped)).results;
    const { commitSeq, replicatedAt } = results[0]!;
    c.header('Commit-Seq', String(commitSeq));
    const shape = { method: fields.values === 'tagged' ? 'values' : 'all', values: fields.values } as const;
    return c.json({
      results: results.map(result => toStatementJson(result, shape)),
      commitSeq,
      replicatedAt,
    });
  });

  addRoute(api, script, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'write');
    const body = await readStatements(c, 'script', options);
    const { fields, statements } = body;
    const wait = await admitWrite(c, options, tenant, fields.timeoutMs);
    const database = options.onewriter.tenant(tenant);
    const sealed = sealedOf(body);
    const { commitSeq, replicatedAt } =
      sealed === undefined
        ? await database.exec(statements[0]!.sql, {
            idempotencyKey: readIdempotencyKey(c),
            durable: fields.durable,
            ...wait,
          })
        : await database.sendSealed(sealed, wait);
    c.header('Commit-Seq', String(commitSeq));
    return c.json({ commitSeq, replicatedAt });
  });
}
