import type { LoadEvent, LoadFormat } from '@onewriter/files';
import { OnewriterError } from '@onewriter/protocol';
import { assertAccess } from '@onewriter/runtime';
import { readIdempotencyKey } from '../../http/request-headers.ts';
import { loadUpload } from '../../load/load-upload.ts';
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

const FORMATS: Readonly<Record<string, LoadFormat>> = {
  'application/sql': 'sql',
  'application/vnd.sqlite3': 'sqlite',
};

const Query = z.object({
  replace: z.enum(['true', 'false']).default('false').openapi({
    description:
      "true: it takes the place of the tenant's content; the file that was there is kept beside the new one. Else the statements of a dump are added to it.",
  }),
  name: z.string().max(200).default('upload').openapi({ description: "The file's name, for people." }),
});

const Event = z
  .object({
    event: z.enum(['progress', 'done', 'failed']),
    step: z.enum(['receive', 'load']).optional(),
    bytes: z.int().optional(),
    totalBytes: z.int().nullable().optional(),
    statements: z.int().optional().openapi({ description: 'Statements of a dump; 0 for a database.' }),
    rows: z.int().optional().openapi({ description: 'Rows that the tenant has now.' }),
    tables: z.int().optional(),
    foreignKeyViolations: z.int().optional(),
    loadedBefore: z.boolean().optional().openapi({
      description:
        'An earlier request with the same Idempotency-Key loaded the file; the figures are those of then.',
    }),
    commitSeq: z.int().optional().openapi({ description: 'The load is this commit.' }),
    replaced: z
      .string()
      .nullable()
      .optional()
      .openapi({ description: 'The file that was there, where it was replaced.' }),
    warnings: z.array(z.string()).optional(),
    error: WireError.optional(),
  })
  .openapi('LoadEvent');

const route = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/load',
  operationId: 'load',
  summary: 'Load a dump or a database, all of it or nothing',
  description:
    'The body is SQL (application/sql) or a SQLite file (application/vnd.sqlite3), also with Content-Encoding: gzip. A process of ' +
    "its own makes a file of it beside the tenant's, which takes its place at the end. A tenant that a dump is added to takes no " +
    'other writes meanwhile: those here are refused (TENANT_PAUSED, to be sent again), those of the SDK wait. BEGIN, COMMIT and the PRAGMAs of a dump are understood. The answer is a stream of events; ' +
    'the last is done or failed. Under one Idempotency-Key a file is loaded once; its key is kept with those of writes. Needs write and import; for a database, and to replace, admin:tenants.',
  security: SECURED,
  request: {
    params: TenantParam,
    query: Query,
    headers: WriteHeaders,
    body: {
      required: true,
      content: {
        'application/sql': { schema: z.string() },
        'application/vnd.sqlite3': { schema: z.string().openapi({ format: 'binary' }) },
      },
    },
  },
  responses: {
    200: { description: 'Events.', content: { [NDJSON]: { schema: Event } } },
    ...FAILURE,
  },
});

const IDLE_TIMEOUT_MS = 30_000;

/** `POST /v1/tenants/{tenant}/load` */
export function addLoadRoute(api: Api): void {
  const { options, guards } = api;
  addRoute(api, route, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'import');
    const access = c.get('access');
    const { name, replace: replaces } = parseQuery(Query, c.req.query());
    const replace = replaces === 'true';
    const format = FORMATS[c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase() ?? ''];
    if (format === undefined) {
      throw new OnewriterError(
        'UNSUPPORTED_MEDIA_TYPE',
        `Content-Type is ${Object.keys(FORMATS).join(' or ')}. Rows (NDJSON, CSV) go to /import.`,
      );
    }
    // A file brings a schema that no rule has seen, and what is replaced is gone for its clients.
    assertAccess(access, replace || format === 'sqlite' ? 'admin:tenants' : 'write', tenant);
    const idempotencyKey = readIdempotencyKey(c);
    await options.pauses.assertNotPaused(tenant);
    const body = decodeBody(c);
    const owner = ownerOf(access, tenant);
    const who = whoAsks(c);
    const { release } = guards.streams.take(owner);
    const gone = c.req.raw.signal;
    const ended = AbortSignal.any([gone, options.closing, endOfToken(c, options.verifyToken)]);
    const record = recordStream(
      { kind: 'import', unit: 'bytes', who, tenant, detail: name, gone: ended },
      options.operations.store,
      options.log,
    );
    const stop = AbortSignal.any([ended, record.cancelled]);
    const events = loadUpload({
      files: options.tenants.files,
      load: options.operations.load,
      body,
      bounds: { idleTimeoutMs: IDLE_TIMEOUT_MS, leastBytesPerS: LEAST_BYTES_PER_S, stop, gone },
      totalBytes: bodyBytes(c.req.header('content-length'), c.req.header('content-encoding')),
      request: { tenant, format, name, replace, idempotencyKey, who, owner, record },
      stop,
    });
    const work = () => c.body(toLineStream(releaseAfter(toLines(events, record), over)), 200, UPLOAD_ANSWER);
    const over = () => {
      release();
      // Its reader went away before the last event.
      record.end({ result: null, error: { code: 'ABORTED', message: 'Its caller went away.' } });
    };
    return replace
      ? options.audit.record(c, 'operation.start', tenant, async () => work(), `load of ${name}, replace`)
      : work();
  });

  async function* toLines(
    events: AsyncIterable<LoadEvent>,
    record: StreamRecord,
  ): AsyncGenerator<string, void, undefined> {
    for await (const event of events) {
      if (event.event === 'failed') record.end({ result: null, error: event.error });
      yield `${JSON.stringify(event)}\n`;
    }
  }
}

/** Null where it is not said, or is that of a packed body. */
function bodyBytes(length: string | undefined, encoding: string | undefined): number | null {
  const isPlain = encoding === undefined || encoding.trim().toLowerCase() === 'identity';
  return isPlain && length !== undefined && /^\d+$/.test(length) ? Number(length) : null;
}
