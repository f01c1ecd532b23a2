import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import { assertAccess } from '@onewriter/runtime';
import type { ExecuteResult, SqlRowArray, StatementResult } from '@onewriter/sdk';
import type { Context } from 'hono';
import { readStatements } from '../../bodies/json-body.ts';
import { type StatementBody, sealedOf } from '../../bodies/statement-body.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import { admitWrite } from '../../http/admit-write.ts';
import { jsonResponse } from '../../http/json-response.ts';
import { readIdempotencyKey, readMinCommitSeq } from '../../http/request-headers.ts';
import { toRowKeys, toRowObject } from '../../http/row-keys.ts';
import { type RowForm, rowsJson } from '../../reads/row-json.ts';
import type { ReadRequest, TenantReads } from '../../reads/tenant-reads.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { boundTokenOf, ownerOf } from '../../security/shares.ts';
import { NDJSON, toLineStream } from '../../streams/line-response.ts';
import { type Api, addRoute } from './api.ts';
import { type JsonValue, type ValueMode, valueWriter, writeInteger } from './result-shapes.ts';
import {
  createRoute,
  FAILURE,
  jsonBody,
  QueryHeaders,
  QueryRequest,
  QueryResponse,
  SECURED,
  TenantParam,
  z,
} from './schemas.ts';

type Method = 'all' | 'get' | 'run' | 'values';

/** How the rows of one answer are written. */
interface Shape {
  readonly method: Method;
  readonly values: ValueMode;
}

const route = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/query',
  operationId: 'query',
  summary: 'Run one statement',
  description:
    'A read runs on a read-only connection and needs a token with access read; anything else goes to the writer and ' +
    'needs write. With Accept: application/x-ndjson a read of any length streams: a line {"columns":[…]}, a line per ' +
    'row, and {"end":true,"rows":n}, or {"error":{…}} where it broke off.',
  security: SECURED,
  request: { params: TenantParam, headers: QueryHeaders, body: jsonBody(QueryRequest) },
  responses: {
    200: {
      description: 'What the statement returned. The header Commit-Seq is the newest commit that it saw.',
      content: {
        'application/json': { schema: QueryResponse },
        [NDJSON]: { schema: z.string() },
      },
    },
    ...FAILURE,
  },
});

/** `POST /v1/tenants/{tenant}/query` */
export function addQueryRoute(api: Api): void {
  const { options } = api;
  addRoute(api, route, api.guards.token, api.guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'read');
    const body = await readStatements(c, 'query', options);
    const { fields, statements } = body;
    const statement = body.statement!;
    const values = fields.values;
    // The SDK asks for tagged values and wants arrays.
    const method = fields.method ?? (values === 'tagged' ? 'values' : 'all');
    const returnsRows = statement.kind === 'read' || statement.returning;
    if (!returnsRows && (fields.method === 'get' || fields.method === 'values')) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `"method": "${fields.method}" needs a statement with rows.`,
      );
    }
    if (statement.kind === 'read') return read(c, options, tenant, body, { method, values });

    assertAccess(c.get('access'), 'write', tenant);
    const wait = await admitWrite(c, options, tenant, fields.timeoutMs);
    const database = options.onewriter.tenant(tenant);
    const shaped = { rowMode: 'array', safeIntegers: values === 'tagged', ...wait } as const;
    let result: StatementResult<SqlRowArray> | ExecuteResult<SqlRowArray>;
    const sealed = sealedOf(body);
    if (sealed === undefined) {
      const { sql, params } = statements[0]!;
      result = await database.execute(sql, params, {
        idempotencyKey: readIdempotencyKey(c),
        durable: fields.durable,
        ...shaped,
      });
    } else {
      result = (await database.sendSealed(sealed, shaped)).results[0]!;
    }
    if (result.commitSeq !== undefined) c.header('Commit-Seq', String(result.commitSeq));
    const { commitSeq, replicatedAt } = result;
    return c.json({ ...toStatementJson(result, { method, values }), commitSeq, replicatedAt });
  });
}

async function read(
  c: Context<GatewayEnv>,
  options: GatewayOptions,
  tenant: string,
  { fields, statements }: StatementBody<'query'>,
  shape: Shape,
): Promise<Response> {
  return answerRead(c, options.reads, shape, {
    tenant,
    statements,
    minCommitSeq: readMinCommitSeq(c),
    timeoutMs: Math.min(fields.timeoutMs ?? Number.POSITIVE_INFINITY, options.readTimeoutMs),
  });
}

/** Answers with the rows of a read: all at once, or in lines where they are wanted so. */
export async function answerRead(
  c: Context<GatewayEnv>,
  reads: Pick<TenantReads, 'read' | 'stream'>,
  shape: Shape,
  what: Pick<ReadRequest, 'tenant' | 'statements' | 'minCommitSeq' | 'timeoutMs'>,
): Promise<Response> {
  const request = {
    ...what,
    safeIntegers: shape.values === 'tagged',
    signal: c.req.raw.signal,
    owner: boundTokenOf(ownerOf(c.get('access'))),
  };
  if (c.req.header('accept')?.includes(NDJSON)) {
    const { columns, chunks } = await reads.stream(request);
    return c.body(toLineStream(toRowLines(columns, chunks, shape)), 200, { 'content-type': NDJSON });
  }
  const form: RowForm = { values: shape.values, rows: ROWS[shape.method] };
  const firstRowOnly = shape.method === 'get';
  const { results, commitSeq } = await reads.read({ ...request, firstRowOnly, json: form });
  c.get('assertAnswerRoom')();
  if (commitSeq !== undefined) c.header('Commit-Seq', String(commitSeq));
  if (shape.method === 'run') return c.json({});
  const result = results[0]!;
  const rows = rowsJson(result, form);
  const columns = JSON.stringify(result.columns);
  if (shape.method === 'get') {
    const isNone = rows.every(piece => piece.byteLength === 0);
    return jsonResponse(c, `{"columns":${columns},"row":`, isNone ? [NULL] : rows, '}');
  }
  return jsonResponse(c, `{"columns":${columns},"rows":[`, rows, ']}');
}

/** How the rows of a read are written; of `get` there is one. */
const ROWS = { all: 'objects', get: 'objects', values: 'arrays', run: 'none' } as const;
const NULL = Buffer.from('null');

/** The rows of an answer, as its method and values ask for. */
function toRowsJson(columns: readonly string[], rows: readonly SqlValue[][], { method, values }: Shape) {
  const write = valueWriter(values);
  switch (method) {
    case 'run':
      return {};
    case 'get':
      return {
        columns,
        row: rows[0] === undefined ? null : toRowObject(toRowKeys(columns), rows[0], write),
      };
    case 'values':
      return { columns, rows: rows.map(row => row.map(write)) };
    case 'all': {
      const keys = toRowKeys(columns);
      return { columns, rows: rows.map(row => toRowObject(keys, row, write)) };
    }
    default:
      return method satisfies never;
  }
}

/** What a statement of the writer did. */
export function toStatementJson(
  result: Omit<ExecuteResult<SqlRowArray>, 'kind'>,
  shape: Shape,
): Record<string, unknown> & { changes: number; lastInsertRowid: JsonValue } {
  const { columns, rows } = result;
  return {
    ...(columns === undefined || rows === undefined ? {} : toRowsJson(columns, rows, shape)),
    changes: result.changes,
    lastInsertRowid: writeInteger(result.lastInsertRowid, shape.values),
  };
}

async function* toRowLines(
  columns: readonly string[],
  chunks: AsyncIterable<SqlValue[][]>,
  { method, values }: Shape,
): AsyncGenerator<string, void, undefined> {
  const write = valueWriter(values);
  const keys = toRowKeys(columns);
  let count = 0;
  yield `${JSON.stringify({ columns })}\n`;
  for await (const rows of chunks) {
    count += rows.length;
    let lines = '';
    for (const row of rows) {
      const shaped = method === 'values' ? row.map(write) : toRowObject(keys, row, write);
      lines += `${JSON.stringify(shaped)}\n`;
    }
    yield lines;
  }
  yield `${JSON.stringify({ end: true, rows: count })}\n`;
}
