import { OnewriterError, toWireError } from '@onewriter/protocol';
import type { OutcomeOptions, Receipt, ReceiptStatus, SqlRowArray, StatementResult } from '@onewriter/sdk';
import { toRowKeys, toRowObject } from '../../http/row-keys.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { type Api, addRoute } from './api.ts';
import { parseQuery } from './parse-query.ts';
import { type ValueMode, valueWriter, writeInteger } from './result-shapes.ts';
import { createRoute, FAILURE, json, ReceiptResponse, SECURED, TenantParam, z } from './schemas.ts';

/** A look at a receipt may take so long after the deadline: it says more than the error of a wait. */
const LOOK_MS = 50;

const Query = z.object({
  wait: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .openapi({ description: 'Milliseconds to wait for the outcome while the write is pending.' }),
  values: z.enum(['plain', 'tagged']).default('tagged'),
});

const route = createRoute({
  method: 'get',
  path: '/v1/tenants/{tenant}/receipts/{id}',
  operationId: 'receipt',
  summary: 'Where a write is now',
  description: 'Rows are arrays with tagged values (the default), objects with plain ones.',
  security: SECURED,
  request: { params: TenantParam.extend({ id: z.string() }), query: Query },
  responses: { 200: json('Its state, and its result or error.', ReceiptResponse), ...FAILURE },
});

/** `GET /v1/tenants/{tenant}/receipts/{id}` */
export function addReceiptRoute(api: Api): void {
  const { options } = api;
  addRoute(api, route, api.guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'read');
    const query = parseQuery(Query, c.req.query());
    const receipt = options.onewriter.tenant(tenant).receipt(c.req.param('id')!);
    const shape = {
      rowMode: 'array',
      safeIntegers: query.values === 'tagged',
      signal: c.req.raw.signal,
    } as const;
    const waitMs = Math.min(query.wait || Number.POSITIVE_INFINITY, options.writeTimeoutMs);
    const dueMs = c.get('receivedAt') + waitMs;
    const leftMs = () => Math.max(1, dueMs - performance.now());
    const lookMs = () => Math.min(leftMs() + LOOK_MS, options.writeTimeoutMs);
    let status = await receipt.status({ ...shape, timeoutMs: lookMs() });
    if (status.state === 'pending' && query.wait) {
      status = await waitForOutcome(receipt, shape, leftMs, lookMs);
    }
    return c.json(toJson(status, query.values));
  });
}

/** The status once it is no longer pending, or at the deadline. */
async function waitForOutcome(
  receipt: Receipt,
  shape: OutcomeOptions<'array'>,
  leftMs: () => number,
  lookMs: () => number,
): Promise<ReceiptStatus<SqlRowArray>> {
  try {
    return { state: 'committed', result: await receipt.committed({ ...shape, timeoutMs: leftMs() }) };
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    // It failed, or it is not known: only a look separates an error of the write from an error of the wait.
    return receipt.status({ ...shape, timeoutMs: lookMs() });
  }
}

function toJson(status: ReceiptStatus<SqlRowArray>, values: ValueMode) {
  switch (status.state) {
    case 'committed': {
      const { statements, replicated, ...outcome } = status.result;
      const result = {
        ...toResultJson(outcome, values),
        statements: statements?.map(statement => toResultJson(statement, values)),
        replicated,
      };
      return { state: 'committed', commitSeq: outcome.commitSeq, result };
    }
    case 'failed':
      return { state: 'failed', error: toWireError(status.error) };
    case 'pending':
    case 'unknown':
      return status;
    default:
      return status satisfies never;
  }
}

function toResultJson(result: StatementResult<SqlRowArray>, values: ValueMode) {
  const { columns, rows } = result;
  const write = valueWriter(values);
  const keys = toRowKeys(columns ?? []);
  return {
    ...(columns === undefined || rows === undefined
      ? {}
      : {
          columns,
          rows: rows.map(row => (values === 'tagged' ? row.map(write) : toRowObject(keys, row, write))),
        }),
    changes: result.changes,
    lastInsertRowid: writeInteger(result.lastInsertRowid, values),
    commitSeq: result.commitSeq,
    replicatedAt: result.replicatedAt,
  };
}
