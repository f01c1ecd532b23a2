import { INTERNAL_TABLE_PREFIX, LIMITS, OnewriterError } from '@onewriter/protocol';
import { type ImportEvent, importRows } from '../import/import-rows.ts';
import { parseCsvRows, parseNdjsonRows } from '../import/parse-rows.ts';
import { readIdempotencyKey } from '../request-headers.ts';
import { authorizeTenant } from '../security/authorize.ts';
import { NDJSON, releaseAfter, toLineStream, UPLOAD_ANSWER } from '../streams/line-response.ts';
import { type Api, addRoute } from './api.ts';
import { parseQuery } from './parse-query.ts';
import { createRoute, FAILURE, SECURED, TenantParam, WireError, WriteHeaders, z } from './schemas.ts';

const Query = z.object({
  table: z.string().min(1),
  onConflict: z.enum(['reject', 'ignore', 'replace']).default('reject').openapi({
    description:
      'A row that breaks a constraint is rejected (and told), ignored, or replaces the row it conflicts with.',
  }),
  maxRejected: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000)
    .default(100)
    .openapi({ description: 'More rejected rows end the import.' }),
});

const Event = z
  .object({
    event: z.enum(['progress', 'rejected', 'done', 'failed', 'interrupted']),
    row: z.int().optional().openapi({ description: 'Of a rejected row, from 0.' }),
    error: WireError.optional(),
    rows: z.int().optional(),
    accepted: z.int().optional(),
    rejected: z.int().optional(),
    unknown: z.int().optional(),
    commitSeq: z.int().optional(),
  })
  .openapi('ImportEvent');

const route = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/import',
  operationId: 'import',
  summary: 'Write many rows into a table',
  description:
    'The body streams, NDJSON (an object per line) or CSV (Content-Type: text/csv, the first record has the columns). Rows ' +
    'are written in jobs of a bounded size, each row by itself. The answer is a stream of events; the last is done, failed ' +
    'or interrupted. With an Idempotency-Key the same body can be sent again until it is done: no row is applied twice.',
  security: SECURED,
  request: {
    params: TenantParam,
    query: Query,
    headers: WriteHeaders,
    body: {
      required: true,
      content: { [NDJSON]: { schema: z.string() }, 'text/csv': { schema: z.string() } },
    },
  },
  responses: {
    200: { description: 'Events.', content: { [NDJSON]: { schema: Event } } },
    ...FAILURE,
  },
});

const IDLE_TIMEOUT_MS = 30_000;
/** A row's number follows the key. */
const MAX_KEY_LENGTH = LIMITS.maxIdempotencyKeyLength - 16;

/** `POST /v1/tenants/{tenant}/import` */
export function addImportRoute(api: Api): void {
  const { options, guards } = api;
  addRoute(api, route, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'write');
    const { table, onConflict, maxRejected } = parseQuery(Query, c.req.query());
    const type = c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (type !== NDJSON && type !== 'text/csv') {
      throw new OnewriterError('UNSUPPORTED_MEDIA_TYPE', `Content-Type is ${NDJSON} or text/csv.`);
    }
    const idempotencyKey = readIdempotencyKey(c, MAX_KEY_LENGTH);
    await options.pauses.assertNotPaused(tenant);
    await assertTable(tenant, table);
    const release = guards.streams.take();
    const bounds = {
      maxLineBytes: options.maxBodyBytes,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
      stop: options.closing,
    };
    const parse = type === NDJSON ? parseNdjsonRows : parseCsvRows;
    const events = importRows(parse(c.req.raw.body, bounds), {
      tenant: options.onewriter.tenant(tenant),
      table,
      onConflict,
      idempotencyKey,
      maxRejected,
      writeTimeoutMs: options.writeTimeoutMs,
      assertMayWrite: () => options.pauses.assertNotPaused(tenant),
      stop: options.closing,
    });
    return c.body(toLineStream(releaseAfter(toLines(events), release)), 200, UPLOAD_ANSWER);
  });

  /** @throws OnewriterError NOT_FOUND, TENANT_NOT_FOUND, STATEMENT_NOT_ALLOWED */
  async function assertTable(tenant: string, table: string): Promise<void> {
    if (table.toLowerCase().startsWith(INTERNAL_TABLE_PREFIX)) {
      throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'That table belongs to the writer.', { tenant });
    }
    const sql = "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE";
    const { results } = await options.reads.read({ tenant, statements: [{ sql, params: [table] }] });
    if (results[0]!.rows.length > 0) return;
    throw new OnewriterError('NOT_FOUND', 'There is no such table; create it first.', { tenant });
  }
}

async function* toLines(events: AsyncIterable<ImportEvent>): AsyncGenerator<string, void, undefined> {
  for await (const event of events) yield `${JSON.stringify(event)}\n`;
}
