import { randomUUID } from 'node:crypto';
import { fingerprintImport, LIMITS, OnewriterError } from '@onewriter/protocol';
import { assertAccess } from '@onewriter/runtime';
import type { BodyWait } from '../../bodies/body-reader.ts';
import { readIdempotencyKey } from '../../http/request-headers.ts';
import { CSV_SEPARATORS, type CsvSeparator } from '../../import/csv-records.ts';
import { findTable, hasDeferredKeys } from '../../import/find-table.ts';
import type { ImportEvent, ImportOptions } from '../../import/import-options.ts';
import { parseDumpStatements } from '../../import/parse-dump.ts';
import { type ParsedRow, type ParseOptions, parseCsvRows, parseNdjsonRows } from '../../import/parse-rows.ts';
import { importRows } from '../../import/row-import.ts';
import { importWhole } from '../../import/whole-import.ts';
import { recordStream, type StreamRecord } from '../../operations/record-stream.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { endOfToken } from '../../security/end-of-token.ts';
import { ownerOf } from '../../security/shares.ts';
import { whoAsks } from '../../security/who-asks.ts';
import { decodeBody } from '../../streams/decode-body.ts';
import { NDJSON, releaseAfter, toLineStream, UPLOAD_ANSWER } from '../../streams/line-response.ts';
import { LEAST_BYTES_PER_S } from '../../streams/read-lines.ts';
import { type Api, addRoute } from './api.ts';
import { parseQuery } from './parse-query.ts';
import { createRoute, FAILURE, SECURED, TenantParam, WireError, WriteHeaders, z } from './schemas.ts';

/** A dump, statement by statement. */
const SQL = 'application/sql';

const Query = z.object({
  table: z.string().min(1).optional().openapi({
    description:
      'The table. Without it each line of NDJSON names its own, as an export of all tables does: {"table":"t","row":{…}}.',
  }),
  onConflict: z.enum(['reject', 'ignore', 'replace']).default('reject').openapi({
    description:
      'A row that breaks a constraint is rejected (and reported), ignored, or replaces the row it conflicts with.',
  }),
  maxRejected: z.coerce
    .number()
    .int()
    .min(0)
    .max(LIMITS.maxImportRefused)
    .default(100)
    .openapi({ description: 'More rejected rows end the import.' }),
  separator: z
    .enum(Object.keys(CSV_SEPARATORS) as [CsvSeparator, ...CsvSeparator[]])
    .default('comma')
    .openapi({ description: 'What stands between the fields of CSV.' }),
  deferred: z
    .enum(['true', 'false'])
    .default('false')
    .openapi({
      description:
        'true: all rows in one transaction, or none; foreign keys are checked at its end, so rows may refer to later ones. ' +
        "The tenant's other writers wait meanwhile, and an import that takes too long for that fails as a whole.",
    }),
});

const Event = z
  .object({
    event: z.enum(['progress', 'rejected', 'done', 'failed', 'interrupted']),
    row: z.int().optional().openapi({ description: 'Number of a rejected row, from 0.' }),
    line: z.int().optional().openapi({ description: 'Where a rejected row begins in the body, from 1.' }),
    error: WireError.optional(),
    idempotencyKey: z
      .string()
      .optional()
      .openapi({ description: 'The key of the request; one that was made where it came without.' }),
    rows: z.int().optional().openapi({ description: 'Rows that were read.' }),
    accepted: z
      .int()
      .optional()
      .openapi({ description: 'Rows that this request committed, ignored ones included.' }),
    ignored: z.int().optional().openapi({
      description:
        'Accepted rows that changed nothing: with onConflict=ignore, rows that conflict with one that is there.',
    }),
    skipped: z
      .int()
      .optional()
      .openapi({ description: 'Rows that were committed before, under the same key.' }),
    rejected: z.int().optional(),
    unknown: z
      .int()
      .optional()
      .openapi({ description: 'Rows of which it could not be learnt whether they were committed.' }),
    commitSeq: z.int().optional().openapi({ description: 'As of this commit all of them are there.' }),
  })
  .openapi('ImportEvent');

const route = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/import',
  operationId: 'import',
  summary: 'Write many rows into a table',
  description:
    'The body streams, NDJSON (an object per line) or CSV (Content-Type: text/csv, the first record has the columns), in ' +
    'UTF-8, also with Content-Encoding: gzip. Rows are written in pieces of a bounded size, each row alone. The answer is a stream of events; the last is ' +
    'done, failed or interrupted. The same body can be sent again under its Idempotency-Key: no row is applied twice, and ' +
    'those that were rejected are tried again. A dump (Content-Type: application/sql; CREATE and INSERT) is written in the same way, ' +
    'a statement in place of a row, and ends with the first that is refused; all or nothing, and with more in it, it goes to /load.',
  security: SECURED,
  request: {
    params: TenantParam,
    query: Query,
    headers: WriteHeaders,
    body: {
      required: true,
      content: {
        [NDJSON]: { schema: z.string() },
        'text/csv': { schema: z.string() },
        [SQL]: { schema: z.string() },
      },
    },
  },
  responses: {
    200: { description: 'Events.', content: { [NDJSON]: { schema: Event } } },
    ...FAILURE,
  },
});

const IDLE_TIMEOUT_MS = 30_000;
/** The folder of an import as one transaction is cleared away after twice this, if the gateway dies. */
const SCRATCH_LIFE_MS = 60 * 60_000;

/** `POST /v1/tenants/{tenant}/import` */
export function addImportRoute(api: Api): void {
  const { options, guards } = api;
  addRoute(api, route, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'import');
    const query = parseQuery(Query, c.req.query());
    const { onConflict, maxRejected, separator } = query;
    const whole = query.deferred === 'true';
    const type = c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (type !== NDJSON && type !== 'text/csv' && type !== SQL) {
      throw new OnewriterError('UNSUPPORTED_MEDIA_TYPE', `Content-Type is ${NDJSON}, text/csv or ${SQL}.`);
    }
    const isDump = type === SQL;
    if (isDump) {
      assertAccess(c.get('access'), 'write', tenant);
      if (whole || query.table !== undefined || onConflict !== 'reject') {
        throw new OnewriterError(
          'INVALID_ARGUMENT',
          'A dump has its own tables: table, onConflict and deferred are for rows. As one transaction it goes to /load.',
        );
      }
    }
    if (type === 'text/csv' && query.table === undefined) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        'CSV goes into one table: name it with ?table=… (--table).',
      );
    }
    const idempotencyKey = readIdempotencyKey(c) ?? `import-${randomUUID()}`;
    await options.pauses.assertNotPaused(tenant);
    const findIt = (name: string) => findTable(options.reads, tenant, name, onConflict);
    const isNew = isDump && (await options.tenants.files.size(tenant)) === undefined;
    const table = query.table === undefined ? undefined : await findIt(query.table);
    const isJudgedAlone = !whole && !isNew && (await hasDeferredKeys(options.reads, tenant));
    const maxPieceRows = isJudgedAlone ? 1 : LIMITS.maxImportPieceRows;
    const body = decodeBody(c);
    const owner = ownerOf(c.get('access'), tenant);
    const { release } = guards.streams.take(owner);
    const gone = c.req.raw.signal;
    const ended = AbortSignal.any([options.closing, endOfToken(c, options.verifyToken)]);
    const record = recordStream(
      {
        ...({ kind: 'import', unit: isDump ? 'statements' : 'rows' } as const),
        ...{ who: whoAsks(c), tenant },
        detail: isDump ? 'dump in steps' : query.table === undefined ? '' : `table ${query.table}`,
        gone: AbortSignal.any([gone, ended]),
      },
      options.operations.store,
      options.log,
    );
    const stop = AbortSignal.any([ended, record.cancelled]);
    const source = {
      body,
      bounds: {
        maxLineBytes: options.maxBodyBytes,
        idleTimeoutMs: IDLE_TIMEOUT_MS,
        leastBytesPerS: LEAST_BYTES_PER_S,
        stop,
        gone,
      },
      findTable: findIt,
      nextTurn: () => guards.turns.next(tenant),
      parseApart: parseApart(options, {
        owner: owner.names.at(-1)!,
        timeoutMs: options.writeTimeoutMs,
        signal: gone,
      }),
    };
    const pieces = isDump
      ? parseDumpStatements(source)
      : type === NDJSON
        ? parseNdjsonRows({ ...source, table })
        : parseCsvRows({ ...source, table: table!, separator });
    const settings: ImportOptions = {
      tenant: options.onewriter.tenant(tenant),
      idempotencyKey,
      fingerprint: fingerprintImport(query.table, isDump ? 'dump' : onConflict, whole),
      statements: isDump,
      maxRejected: isDump ? 0 : maxRejected,
      writeTimeoutMs: options.writeTimeoutMs,
      assertMayWrite: () => options.pauses.assertNotPaused(tenant),
      stop,
      gone,
    };
    const events = whole
      ? importFromScratch(tenant, pieces, settings)
      : importRows(pieces, { ...settings, maxPieceRows, room: guards.rooms.open(tenant) });
    const lines = toLines(events, event => {
      noteEvent(record, event);
      logEnd(tenant, event);
    });
    const over = () => {
      release();
      // Its reader went away before the last event.
      record.end({ result: null, error: { code: 'ABORTED', message: 'Its caller went away.' } });
    };
    return c.body(toLineStream(releaseAfter(lines, over)), 200, UPLOAD_ANSWER);
  });

  async function* importFromScratch(
    tenant: string,
    pieces: AsyncIterable<readonly ParsedRow[]>,
    settings: ImportOptions,
  ): AsyncGenerator<ImportEvent, void, undefined> {
    const { files } = options.tenants;
    const scratch = await files.makeScratch(tenant, SCRATCH_LIFE_MS);
    try {
      yield* importWhole(pieces, { ...settings, scratch });
    } finally {
      await files.removeScratch(scratch);
    }
  }

  /** Where an upload breaks off, its sender may not hear what was applied. */
  function logEnd(tenant: string, event: ImportEvent): void {
    if (event.event === 'failed') options.log.warn({ tenant, ...event }, 'an import failed');
    else if (event.event === 'interrupted')
      options.log.info({ tenant, ...event }, 'an import was interrupted');
  }
}

/** What the record of an import says of an event. */
function noteEvent(record: StreamRecord, event: ImportEvent): void {
  if (event.event === 'rejected') {
    record.log(`row ${event.row}: ${event.error.code} ${event.error.message}`);
    return;
  }
  const { rows, accepted, ignored, skipped, rejected } = event;
  record.progress(rows);
  const result = { rows, accepted, ignored, skipped, rejected };
  if (event.event === 'done') record.end({ result });
  else if (event.event === 'failed') record.end({ result, error: event.error });
  else if (event.event === 'interrupted')
    record.end({ result, error: { code: 'ABORTED', message: 'It was stopped; send the same body again.' } });
}

function parseApart({ bodies }: Api['options'], wait: BodyWait): ParseOptions['parseApart'] {
  if (bodies === undefined) return undefined;
  return (name, line) => bodies.readOther({ name, bytes: new TextEncoder().encode(line) }, wait);
}

async function* toLines(
  events: AsyncIterable<ImportEvent>,
  onEvent: (event: ImportEvent) => void,
): AsyncGenerator<string, void, undefined> {
  for await (const event of events) {
    onEvent(event);
    yield `${JSON.stringify(event)}\n`;
  }
}
