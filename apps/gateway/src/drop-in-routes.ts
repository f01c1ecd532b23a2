import {
  assertTenantId,
  classifyStatement,
  LIMITS,
  OnewriterError,
  type SqlParameter,
} from '@onewriter/protocol';
import { assertAccess } from '@onewriter/runtime';
import type { ExecuteResult, StatementResult } from '@onewriter/sdk';
import type { Context, Hono } from 'hono';
import { z } from 'zod';
import type { GatewayEnv } from './gateway-env.ts';
import type { GatewayOptions } from './gateway-options.ts';
import { readJsonBody } from './json-body.ts';
import { decodeJsonParameters } from './parameter-values.ts';
import { toPlainRows, toPlainValue } from './result-values.ts';

const parameters = z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())]).nullish();

/** Body of `POST /query`. */
const queryBody = z.object({
  tenantId: z.string(),
  query: z.string(),
  params: parameters,
  method: z.enum(['run', 'get', 'all']).nullish(),
});

/** Body of `POST /transaction`. */
const transactionBody = z.object({
  tenantId: z.string(),
  queries: z
    .array(z.object({ query: z.string(), params: parameters }))
    .min(1)
    .max(LIMITS.maxTransactionStatements),
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
export function addDropInRoutes(app: Hono<GatewayEnv>, options: GatewayOptions): void {
  app.post('/query', async c => {
    const body = await readJsonBody(c, queryBody, options.maxBodyBytes);
    const tenantId = assertTenantId(body.tenantId);
    assertAccess(c.get('access'), 'read', tenantId);
    const statement = classifyStatement(body.query);
    if (statement.kind === 'write') assertAccess(c.get('access'), 'write', tenantId);
    assertMethod(body.method, statement.kind === 'read' || statement.returning);

    const tenant = options.onewriter.tenant(tenantId);
    const params = decodeJsonParameters(body.params);
    if (body.method === 'get' && statement.kind === 'read') {
      const row = await tenant
        .prepare(body.query, waitOptions(c, options))
        .get(params as readonly SqlParameter[]);
      return c.json({ type: 'get', result: row === undefined ? null : toPlainRows([row])[0] });
    }
    const result = await tenant.execute(body.query, params, waitOptions(c, options));
    if (result.rows === undefined || body.method === 'run') {
      return c.json({ type: 'run', result: toPlainRun(result) });
    }
    const rows = toPlainRows(result.rows);
    return body.method === 'get'
      ? c.json({ type: 'get', result: rows[0] ?? null })
      : c.json({ type: 'all', result: rows });
  });

  app.post('/transaction', async c => {
    const body = await readJsonBody(c, transactionBody, options.maxBodyBytes);
    const tenantId = assertTenantId(body.tenantId);
    // Also one that only reads: all its statements see one state because the writer runs them.
    assertAccess(c.get('access'), 'write', tenantId);
    const statements = body.queries.map(({ query, params }, index) => ({
      sql: query,
      params: atIndex(index, () => decodeJsonParameters(params)),
    }));
    const results = await options.onewriter.tenant(tenantId).transaction(statements, waitOptions(c, options));
    return c.json({
      results: results.map(result =>
        result.rows === undefined ? toPlainRun(result) : toPlainRows(result.rows),
      ),
    });
  });
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

function waitOptions(c: Context<GatewayEnv>, options: GatewayOptions) {
  return { timeoutMs: options.writeTimeoutMs, signal: c.req.raw.signal };
}

function toPlainRun(result: ExecuteResult | StatementResult) {
  return { changes: result.changes, lastInsertRowid: toPlainValue(result.lastInsertRowid) };
}

/** Adds to an error which statement of the transaction it is about. */
function atIndex<T>(statementIndex: number, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    throw new OnewriterError(error.code, error.message, { ...error.details, statementIndex }, error);
  }
}
