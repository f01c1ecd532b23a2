import type { OpenAPIHono } from '@hono/zod-openapi';
import { OnewriterError } from '@onewriter/protocol';
import { assertAccess } from '@onewriter/runtime';
import type { StatementResult, TransactionStatement } from '@onewriter/sdk';
import type { Context } from 'hono';
import { DropInQuery, DropInTransaction } from '../../bodies/drop-in-bodies.ts';
import { readStatements } from '../../bodies/json-body.ts';
import { sealedOf } from '../../bodies/statement-body.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import { admitWrite } from '../../http/admit-write.ts';
import { jsonResponse } from '../../http/json-response.ts';
import { toPlainRows, toPlainValue } from '../../http/result-values.ts';
import { type RowForm, rowsJson } from '../../reads/row-json.ts';
import type { ReadStatement } from '../../reads/tenant-reads.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { boundTokenOf, ownerOf } from '../../security/shares.ts';
import { createRoute, json, jsonBody, SECURED, z } from '../v1/schemas.ts';
import type { LenientResult } from './leniency.ts';

const DropInError = z
  .object({
    error: z.string(),
    code: z.string(),
    index: z.int().optional(),
    sqliteCode: z.string().optional(),
    retryAfterMs: z.number().optional(),
    receiptId: z.string().optional(),
    requestId: z.string(),
  })
  .openapi('DropInError');
const failure = { default: json('An error, with the status of its code.', DropInError) };

const PlainValue = z.union([
  z.null(),
  z.number(),
  z.string(),
  z.object({ type: z.literal('Buffer'), data: z.array(z.int()) }),
]);
const PlainRow = z.record(z.string(), PlainValue).openapi('DropInRow', {
  description:
    'A property per column. Where columns have equal names, the last is id, for example, and those before it are id:1, id:2.',
});
const RunResult = z
  .object({ changes: z.int(), lastInsertRowid: z.union([z.int(), z.string()]) })
  .openapi('DropInRunResult');

const queryRoute = createRoute({
  method: 'post',
  path: '/query',
  operationId: 'dropInQuery',
  summary: 'Run one statement, as existing proxies do',
  security: SECURED,
  request: { body: jsonBody(DropInQuery) },
  responses: {
    200: json(
      'What the statement did.',
      z.union([
        z.object({ type: z.literal('all'), result: z.array(PlainRow) }),
        z.object({ type: z.literal('get'), result: z.union([PlainRow, z.null()]) }),
        z.object({ type: z.literal('run'), result: RunResult }),
      ]),
    ),
    ...failure,
  },
});

const transactionRoute = createRoute({
  method: 'post',
  path: '/transaction',
  operationId: 'dropInTransaction',
  summary: 'Apply statements as a whole or not at all, as existing proxies do',
  security: SECURED,
  request: { body: jsonBody(DropInTransaction) },
  responses: {
    200: json(
      'One result per statement.',
      z.object({ results: z.array(z.union([z.array(PlainRow), RunResult])) }),
    ),
    ...failure,
  },
});

/**
 * The endpoints of the proxies people run today, with their shapes and without their faults: what a statement answers
 * is never guessed from its text.
 *
 *   POST /query        {tenantId, query, params?, method?}
 *                      → {type: 'all', result: [row, …]}    for a statement that returns rows
 *                      → {type: 'run', result: {changes, lastInsertRowid}}    for one that does not
 *                      → {type: 'get', result: row | null}    with "method": "get"
 *   POST /transaction  {tenantId, queries: [{query, params?}, …]}
 *                      → {results: [rows | {changes, lastInsertRowid}, …]}, all or nothing
 *
 * An error of a transaction names the failing statement in `index`.
 */
export function addDropInRoutes(app: OpenAPIHono<GatewayEnv>, options: GatewayOptions): void {
  app.openAPIRegistry.registerPath(queryRoute);
  app.openAPIRegistry.registerPath(transactionRoute);
  app.post('/query', async c => {
    const body = await readStatements(c, 'dropInQuery', options);
    const { fields, statements } = body;
    const statement = body.statement!;
    const tenantId = await authorizeTenant(c, options.limits, fields.tenantId, 'read');
    if (statement.kind === 'write') assertAccess(c.get('access'), 'write', tenantId);
    // A PRAGMA that only sets returns nothing.
    const onlySets = statement.answer?.columns.length === 0;
    assertMethod(fields.method, (statement.kind === 'read' && !onlySets) || statement.returning);

    if (statement.kind === 'read') {
      const isRun = fields.method === 'run' || onlySets;
      const isFirst = fields.method === 'get' || fields.method === 'run';
      const { result: rows } = await lenient(c, options, tenantId, statements, current =>
        readRows(c, options, tenantId, current, isFirst),
      );
      if (isRun) return c.json({ type: 'run', result: { changes: 0, lastInsertRowid: 0 } });
      if (fields.method !== 'get') return jsonResponse(c, '{"type":"all","result":[', rows, ']}');
      const isNone = rows.every(piece => piece.byteLength === 0);
      return isNone
        ? c.json({ type: 'get', result: null })
        : jsonResponse(c, '{"type":"get","result":', rows, '}');
    }
    const database = options.onewriter.tenant(tenantId);
    const { result, done } = await lenient(c, options, tenantId, statements, async ([current]) => {
      const shaped = { ...(await admitWrite(c, options, tenantId)), rowMode: 'array' } as const;
      const sealed = sealedOf(body);
      return sealed === undefined
        ? await database.execute(current!.sql, current!.params, shaped)
        : (await database.sendSealed(sealed, shaped)).results[0]!;
    });
    if (done.has(0)) return c.json({ type: 'run', result: DONE });
    const { columns = [], rows: values } = result;
    if (values === undefined || fields.method === 'run') {
      return c.json({ type: 'run', result: toPlainRun(result) });
    }
    const rows = toPlainRows(columns, values);
    return fields.method === 'get'
      ? c.json({ type: 'get', result: rows[0] ?? null })
      : c.json({ type: 'all', result: rows });
  });

  app.post('/transaction', async c => {
    const body = await readStatements(c, 'dropInTransaction', options);
    const { fields, statements } = body;
    // Also one that only reads: all its statements see one state because the writer runs them.
    const tenantId = await authorizeTenant(c, options.limits, fields.tenantId, 'write');
    const database = options.onewriter.tenant(tenantId);
    const { result, done } = await lenient(c, options, tenantId, statements, async current => {
      const shaped = { ...(await admitWrite(c, options, tenantId)), rowMode: 'array' } as const;
      const sealed = sealedOf(body);
      return sealed === undefined
        ? await database.transaction(current, shaped)
        : (await database.sendSealed(sealed, shaped)).results;
    });
    return c.json({
      results: result.map(({ columns = [], rows, ...run }, index) => {
        if (done.has(index)) return DONE;
        return rows === undefined ? toPlainRun(run) : toPlainRows(columns, rows);
      }),
    });
  });
}

/** Result of a schema change that was made before. */
const DONE = Object.freeze({ changes: 0, lastInsertRowid: 0 });

/** Runs statements as the settings allow; see {@link Leniency}. */
function lenient<Result>(
  c: Context<GatewayEnv>,
  { leniency, writeTimeoutMs }: GatewayOptions,
  tenant: string,
  statements: readonly TransactionStatement[],
  attempt: (statements: readonly TransactionStatement[]) => Promise<Result>,
): Promise<LenientResult<Result>> {
  const waitOf = () => ({
    timeoutMs: Math.max(1, Math.ceil(c.get('receivedAt') + writeTimeoutMs - performance.now())),
    signal: c.req.raw.signal,
  });
  return leniency.run(tenant, statements, waitOf, attempt);
}

/** As better-sqlite3 does it: run() is for statements without rows or with RETURNING, get() and all() need rows. */
function assertMethod(method: 'run' | 'get' | 'all' | null | undefined, returnsRows: boolean): void {
  if ((method === 'get' || method === 'all') && !returnsRows) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `The statement returns no rows; "method": "${method}" needs some. Leave method out, or send "run".`,
    );
  }
}

async function readRows(
  c: Context<GatewayEnv>,
  options: GatewayOptions,
  tenant: string,
  statements: readonly ReadStatement[],
  firstRowOnly: boolean,
): Promise<readonly Uint8Array[]> {
  const json: RowForm = { values: 'dropIn', rows: 'objects' };
  const { results } = await options.reads.read({
    tenant,
    statements,
    firstRowOnly,
    json,
    timeoutMs: options.readTimeoutMs,
    signal: c.req.raw.signal,
    owner: boundTokenOf(ownerOf(c.get('access'))),
  });
  c.get('assertAnswerRoom')();
  return rowsJson(results[0]!, json);
}

function toPlainRun(result: Pick<StatementResult, 'changes' | 'lastInsertRowid'>) {
  return { changes: result.changes, lastInsertRowid: toPlainValue(result.lastInsertRowid) };
}
