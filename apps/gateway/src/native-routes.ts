import {
  assertTenantId,
  classifyStatement,
  encodeInteger,
  type GatewayQueryResponse,
  type GatewayReceiptResponse,
  type GatewayWriteResult,
  toWireError,
} from '@onewriter/protocol';
import { assertAccess } from '@onewriter/runtime';
import type { ReceiptStatus, SqlRow, StatementResult } from '@onewriter/sdk';
import type { Hono } from 'hono';
import { z } from 'zod';
import type { GatewayEnv } from './gateway-env.ts';
import type { GatewayOptions } from './gateway-options.ts';
import { readJsonBody } from './json-body.ts';
import { decodeJsonParameters } from './parameter-values.ts';
import { toTaggedRow, toTaggedRows } from './result-values.ts';

/** A GatewayQueryRequest. */
const queryBody = z.object({
  sql: z.string(),
  params: z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())]).nullish(),
  values: z.literal('tagged'),
});

/**
 * The endpoints that the SDK uses where it cannot open a tenant's file; shared/protocol/src/gateway-api.ts has their
 * shapes. Values are exact both ways.
 *
 *   POST /v1/tenants/:tenant/query
 *   GET  /v1/tenants/:tenant/receipts/:id
 */
export function addNativeRoutes(app: Hono<GatewayEnv>, options: GatewayOptions): void {
  app.post('/v1/tenants/:tenant/query', async c => {
    const tenantId = assertTenantId(c.req.param('tenant'));
    assertAccess(c.get('access'), 'read', tenantId);
    const body = await readJsonBody(c, queryBody, options.maxBodyBytes);
    if (classifyStatement(body.sql).kind === 'write') assertAccess(c.get('access'), 'write', tenantId);
    const result = await options.onewriter
      .tenant(tenantId)
      .execute(body.sql, decodeJsonParameters(body.params), {
        rowMode: 'array',
        timeoutMs: options.writeTimeoutMs,
        signal: c.req.raw.signal,
      });
    const rows =
      result.rows === undefined ? {} : { columns: result.columns, rows: toTaggedRows(result.rows) };
    const answer: GatewayQueryResponse =
      result.kind === 'read'
        ? rows
        : {
            ...rows,
            changes: result.changes,
            lastInsertRowid: encodeInteger(result.lastInsertRowid),
            commitSeq: result.commitSeq,
          };
    return c.json(answer);
  });

  app.get('/v1/tenants/:tenant/receipts/:id', async c => {
    const tenantId = assertTenantId(c.req.param('tenant'));
    assertAccess(c.get('access'), 'read', tenantId);
    const status = await options.onewriter
      .tenant(tenantId)
      .receipt(c.req.param('id'))
      .status({ timeoutMs: options.writeTimeoutMs, signal: c.req.raw.signal });
    return c.json(toReceiptResponse(status));
  });
}

function toReceiptResponse(status: ReceiptStatus): GatewayReceiptResponse {
  switch (status.state) {
    case 'committed': {
      const { statements, ...outcome } = status.result;
      const result: GatewayWriteResult = {
        ...toTaggedResult(outcome),
        statements: statements?.map(toTaggedResult),
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

function toTaggedResult(result: StatementResult<SqlRow>): GatewayQueryResponse {
  const { columns, rows } = result;
  return {
    ...(columns === undefined || rows === undefined
      ? {}
      : { columns, rows: rows.map(row => toTaggedRow(columns.map(column => row[column] ?? null))) }),
    changes: result.changes,
    lastInsertRowid: encodeInteger(result.lastInsertRowid),
    commitSeq: result.commitSeq,
  };
}
