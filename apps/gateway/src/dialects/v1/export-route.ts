import type { HttpBindings } from '@hono/node-server';
import { OnewriterError, toWireError } from '@onewriter/protocol';
import type { Context } from 'hono';
import { EXPORT_FORMATS, type ExportFormat } from '../../export/export-messages.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import { recordStream } from '../../operations/record-stream.ts';
import { wakeTenant } from '../../reads/wake-tenant.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { endOfToken } from '../../security/end-of-token.ts';
import { ownerOf } from '../../security/shares.ts';
import { whoAsks } from '../../security/who-asks.ts';
import { NDJSON } from '../../streams/line-response.ts';
import { type Api, addRoute } from './api.ts';
import { parseQuery } from './parse-query.ts';
import { createRoute, FAILURE, SECURED, TenantParam, z } from './schemas.ts';

const Query = z.object({
  format: z.enum(EXPORT_FORMATS).default('ndjson'),
  table: z.string().min(1).optional().openapi({
    description: 'One table or view. Needed for CSV; without it NDJSON has all tables, as {"table", "row"}.',
  }),
  values: z
    .enum(['plain', 'tagged'])
    .default('tagged')
    .openapi({ description: 'Values of NDJSON; tagged keeps every type, also when it is imported.' }),
});

/** Sent behind a body of unknown length, when it is whole. Source: RFC 9110, section 6.5. */
const ROWS_TRAILER = 'Export-Rows';

const TYPES: Readonly<Record<ExportFormat, string>> = {
  ndjson: NDJSON,
  csv: 'text/csv',
  sql: 'application/sql',
  sqlite: 'application/vnd.sqlite3',
};
const EXTENSIONS: Readonly<Record<ExportFormat, string>> = {
  ndjson: 'ndjson',
  csv: 'csv',
  sql: 'sql',
  sqlite: 'db',
};

const route = createRoute({
  method: 'get',
  path: '/v1/tenants/{tenant}/export',
  operationId: 'export',
  summary: 'Export rows, or the whole database',
  description:
    'All is of one state of the database, whatever is written meanwhile; the header Commit-Seq says which. ndjson and csv have ' +
    'rows, sql is a dump for the sqlite3 shell and for …/script, sqlite is the database file. An export that breaks off ' +
    'ends the connection before the end of the body. A whole one ends with the record ' +
    '{"onewriter_export":{"rows":3}} (ndjson), with COMMIT; (sql), or has a Content-Length (sqlite); the first three ' +
    'have a trailer Export-Rows.',
  security: SECURED,
  request: { params: TenantParam, query: Query },
  responses: {
    200: {
      description: 'The export.',
      content: Object.fromEntries(Object.values(TYPES).map(type => [type, { schema: z.string() }])),
    },
    ...FAILURE,
  },
});

/** `GET /v1/tenants/{tenant}/export` */
export function addExportRoute(api: Api): void {
  const { options } = api;
  addRoute(api, route, api.guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'export');
    const { format, table, values } = parseQuery(Query, c.req.query());
    if (format === 'csv' && table === undefined) {
      throw new OnewriterError('INVALID_ARGUMENT', 'CSV has one table: name it with ?table=… (--table).');
    }
    if (format !== 'csv' && format !== 'ndjson' && table !== undefined) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `format=${format} has the whole database; leave out table.`,
      );
    }
    return exportTenant(c, options, tenant, { format, table, values });
  });
}

/** What is exported, and how. */
interface ExportRequest {
  readonly format: ExportFormat;
  readonly table?: string | undefined;
  readonly values: 'plain' | 'tagged';
}

/** Answers with an export; the request is authorized. @throws OnewriterError as Exporter */
export async function exportTenant(
  c: Context<GatewayEnv>,
  options: GatewayOptions,
  tenant: string,
  { format, table, values }: ExportRequest,
): Promise<Response> {
  // Missing where a request is made in a test, without a server.
  const outgoing = (c.env as Partial<HttpBindings> | undefined)?.outgoing;
  const gone = AbortSignal.any([c.req.raw.signal, endOfToken(c, options.verifyToken)]);
  await wakeTenant(options, tenant, { timeoutMs: options.readTimeoutMs, signal: gone });
  const detail = table === undefined ? format : `${format}, table ${table}`;
  const work = { kind: 'export', who: whoAsks(c), tenant, detail, unit: 'bytes', gone } as const;
  const record = recordStream(work, options.operations.store, options.log);
  const exported = options.exporter({
    tenant,
    owner: ownerOf(c.get('access'), tenant),
    format,
    table,
    values,
    signal: AbortSignal.any([gone, record.cancelled]),
    onWhole: rows => rows !== undefined && outgoing?.addTrailers({ [ROWS_TRAILER]: String(rows) }),
    onBytes: record.progress,
    onEnd: outcome =>
      record.end(
        outcome instanceof OnewriterError
          ? { result: null, error: toWireError(outcome) }
          : { result: { bytes: outcome.bytes } },
      ),
  });
  // It may be refused before it has a process.
  exported.catch(error => record.end({ result: null, error: toWireError(error) }));
  const { commitSeq, bytes, body } = await exported;
  if (commitSeq !== undefined) c.header('Commit-Seq', String(commitSeq));
  if (bytes === undefined) c.header('Trailer', ROWS_TRAILER);
  else c.header('Content-Length', String(bytes));
  const charset = format === 'sqlite' || format === 'ndjson' ? '' : '; charset=utf-8';
  return c.body(body, 200, {
    'content-type': `${TYPES[format]}${charset}`,
    'content-disposition': `attachment; filename="${tenant}.${EXTENSIONS[format]}"`,
  });
}
