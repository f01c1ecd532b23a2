import { OnewriterError, type StatementClass, toWireError } from '@onewriter/protocol';
import type { Receipt, Tenant } from '@onewriter/sdk';
import type { Context } from 'hono';
import { readStatements } from '../../bodies/json-body.ts';
import { readStatementBody, type StatementBody, sealedOf } from '../../bodies/statement-body.ts';
import { takesLong } from '../../bodies/takes-long.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import { admitWrite } from '../../http/admit-write.ts';
import { asOnewriterError } from '../../http/error-response.ts';
import { readIdempotencyKey } from '../../http/request-headers.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { senderOf } from '../../security/sender.ts';
import { ownerOf } from '../../security/shares.ts';
import { decodeBody } from '../../streams/decode-body.ts';
import { NDJSON, releaseAfter, toLineStream, UPLOAD_ANSWER } from '../../streams/line-response.ts';
import { LEAST_BYTES_PER_S, readLines } from '../../streams/read-lines.ts';
import { type Api, addRoute } from './api.ts';
import {
  createRoute,
  EnqueueAnswerLine,
  EnqueueLine,
  EnqueueRequest,
  EnqueueResponse,
  FAILURE,
  json,
  SECURED,
  TenantParam,
  WriteHeaders,
} from './schemas.ts';

const route = createRoute({
  method: 'post',
  path: '/v1/tenants/{tenant}/enqueue',
  operationId: 'enqueue',
  summary: 'Send a write without waiting for its commit',
  description:
    'Answers as soon as the queue has the write. One that then fails is set aside with the dead letters. With ' +
    'Content-Type: application/x-ndjson the body is a stream of writes, one per line (EnqueueLine), and the answer a ' +
    'stream of lines (EnqueueAnswerLine) in the same order.',
  security: SECURED,
  request: {
    params: TenantParam,
    headers: WriteHeaders,
    body: {
      required: true,
      content: { 'application/json': { schema: EnqueueRequest }, [NDJSON]: { schema: EnqueueLine } },
    },
  },
  responses: {
    200: { description: 'One line per write.', content: { [NDJSON]: { schema: EnqueueAnswerLine } } },
    202: json('The queue has it.', EnqueueResponse),
    ...FAILURE,
  },
});

/** Writes of one stream that are on their way to the queue: enough for full jobs. */
const MAX_UNDER_WAY = 500;
const IDLE_TIMEOUT_MS = 30_000;
/** Lines are worked on until there are so many characters of them; then other requests are served. */
const SLICE_CHARACTERS = 16 * 1024;
/** What a line costs besides its characters, in characters. */
const LINE_COST = 200;

/** `POST /v1/tenants/{tenant}/enqueue` */
export function addEnqueueRoute(api: Api): void {
  const { options, guards } = api;
  const single = async (c: Context<GatewayEnv>) => {
    const tenantId = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'write');
    const body = await readStatements(c, 'enqueue', options);
    const { fields, statements } = body;
    assertEnqueues(body.statement!);
    const wait = await admitWrite(c, options, tenantId, fields.timeoutMs);
    const tenant = options.onewriter.tenant(tenantId);
    let receipt: Receipt;
    const sealed = sealedOf(body);
    if (sealed === undefined) {
      const { sql, params } = statements[0]!;
      const { durable } = fields;
      const idempotencyKey = readIdempotencyKey(c);
      receipt = await tenant.enqueue(sql, params, { ...wait, idempotencyKey, durable });
    } else {
      receipt = await tenant.enqueueSealed(sealed, wait);
    }
    const receiptId = receipt.id;
    const href = receiptHref(tenantId, receiptId);
    return c.json({ receiptId, href }, 202, { location: href });
  };
  addRoute(
    api,
    route,
    guards.token,
    async (c, next) => {
      if (!c.req.header('content-type')?.startsWith(NDJSON)) {
        await next();
        return;
      }
      const tenantId = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'write');
      await options.pauses.assertNotPaused(tenantId);
      const body = decodeBody(c);
      const { release } = guards.streams.take(ownerOf(c.get('access'), tenantId));
      const lines = enqueueLines(c, body, api, tenantId);
      return c.body(toLineStream(releaseAfter(lines, release)), 200, UPLOAD_ANSWER);
    },
    guards.jsonBody,
    single,
  );
}

async function* enqueueLines(
  c: Context<GatewayEnv>,
  body: ReadableStream<Uint8Array> | null,
  { options, guards }: Api,
  tenantId: string,
): AsyncGenerator<string, void, undefined> {
  const tenant = options.onewriter.tenant(tenantId);
  const answers: Promise<string>[] = [];
  const { signal } = c.req.raw;
  const sender = senderOf(c.get('access'));
  const wait = { timeoutMs: options.writeTimeoutMs, signal, requestId: c.get('requestId'), sender };
  const bounds = {
    maxLineBytes: options.maxBodyBytes,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    leastBytesPerS: LEAST_BYTES_PER_S,
    stop: options.closing,
    gone: signal,
  };
  const owner = ownerOf(c.get('access'), tenantId).names.at(-1)!;
  /** A long line is read by another thread, as a large body is. */
  const readApart = (line: string) => {
    const bytes = new TextEncoder().encode(line);
    const flags = { requestId: wait.requestId, sender, detached: true };
    return options.bodies?.read({ name: 'enqueueLine', bytes, flags }, { ...wait, owner });
  };
  const room = guards.rooms.open(tenantId);
  let index = 0;
  let worked = 0;
  try {
    for await (const line of readLines(body, bounds)) {
      if (worked >= SLICE_CHARACTERS) {
        worked = 0;
        await guards.turns.next(tenantId);
      }
      // Answers of writes under way release their room; with none under way there is always room for one.
      while (answers.length >= MAX_UNDER_WAY || !room.tryTake(line.length)) yield await answers.shift()!;
      const apart = takesLong(line) ? readApart(line) : undefined;
      worked += LINE_COST + (apart === undefined ? line.length : 0);
      const sent = sendLine(tenant, apart ?? line, wait);
      answers.push(toAnswer(index++, sent).finally(() => room.give(1, line.length)));
      // The lines after it are sent after it.
      await apart?.catch(() => {}); // its answer says so
    }
    while (answers.length > 0) yield await answers.shift()!;
  } finally {
    await Promise.all(answers);
    room.close();
  }
}

async function toAnswer(index: number, sent: Promise<string>): Promise<string> {
  try {
    return `${JSON.stringify({ index, receiptId: await sent })}\n`;
  } catch (error) {
    return `${JSON.stringify({ index, error: toWireError(asOnewriterError(error)) })}\n`;
  }
}

interface SendOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly requestId: string;
  readonly sender: string | undefined;
}

/**
 * @param line as text, or what another thread reads it as
 * @returns the id of its receipt
 * @throws OnewriterError as Tenant.enqueue; INVALID_ARGUMENT for a statement that only reads
 */
async function sendLine(
  tenant: Tenant,
  line: string | Promise<StatementBody<'enqueueLine'>>,
  wait: SendOptions,
): Promise<string> {
  const body = typeof line === 'string' ? readStatementBody('enqueueLine', line) : await line;
  assertEnqueues(body.statement!);
  const sealed = sealedOf(body);
  if (sealed !== undefined) return (await tenant.enqueueSealed(sealed, wait)).id;
  const { sql, params } = body.statements[0]!;
  const { idempotencyKey, durable } = body.fields;
  return (await tenant.enqueue(sql, params, { ...wait, idempotencyKey, durable })).id;
}

/** @throws OnewriterError INVALID_ARGUMENT */
function assertEnqueues(statement: StatementClass): void {
  if (statement.kind === 'write') return;
  throw new OnewriterError('INVALID_ARGUMENT', 'This statement only reads; enqueue is for writes.');
}

/** Where to ask for a write's outcome. */
function receiptHref(tenant: string, receiptId: string): string {
  return `/v1/tenants/${tenant}/receipts/${receiptId}`;
}
