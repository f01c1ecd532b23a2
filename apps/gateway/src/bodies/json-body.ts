import { OnewriterError } from '@onewriter/protocol';
import type { Context, MiddlewareHandler } from 'hono';
import type { z } from 'zod';
import type { GatewayEnv } from '../gateway-env.ts';
import type { GatewayOptions } from '../gateway-options.ts';
import { readIdempotencyKey } from '../http/request-headers.ts';
import { senderOf } from '../security/sender.ts';
import { ownerOf, type Shares, type Taken } from '../security/shares.ts';
import { assertNotEncoded } from '../streams/decode-body.ts';
import type { LoopTurns } from '../streams/loop-turns.ts';
import type { BodyReader, BodyWait } from './body-reader.ts';
import type { LargeBody } from './large-body.ts';
import { type OtherBodies, type OtherBodyName, readOtherBody } from './other-bodies.ts';
import { parseJson, validate } from './parse-body.ts';
import { type BodyName, readStatementBody, type StatementBody } from './statement-body.ts';
import { takesLong } from './takes-long.ts';

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i;

/** A body of this size is read at once; it counts before it has arrived. */
const SMALL_BYTES = 16 * 1024;

/** A body that the event loop reads whatever is in it: it is of few routes, and has a name or two. */
const MAX_LOOP_BYTES = 64 * 1024;

/**
 * A body that is refused is read up to this, and dropped, before the answer: a client that is still sending when the connection
 * ends often does not see it.
 */
const MAX_DISCARDED_BYTES = 64 * 1024 * 1024;

/**
 * Refuses bodies that are not JSON or too large before it keeps any of them. For the others, the bytes that have arrived count in
 * `bodies` until the answer is made: a client that declares a large body and sends it slowly holds little.
 * @param types content types that are read as JSON
 * @throws OnewriterError UNSUPPORTED_MEDIA_TYPE, PAYLOAD_TOO_LARGE, RATE_LIMITED
 */
export function acceptJsonBody(
  maxBytes: number,
  bodies: Shares,
  turns: LoopTurns,
  types = JSON_TYPE,
): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    // Without the header it may be JSON; parsing decides.
    const type = c.req.header('content-type');
    if (type !== undefined && !types.test(type)) {
      throw new OnewriterError(
        'UNSUPPORTED_MEDIA_TYPE',
        'The body must be JSON: send the header "Content-Type: application/json".',
      );
    }
    assertNotEncoded(c);
    const owner = ownerOf(c.get('access'));
    const name = owner.names.at(-1)!;
    const nextTurn = () => turns.next(name);
    c.set('nextTurn', nextTurn);
    const bytes = declaredBytes(c);
    if (bytes !== undefined && bytes > maxBytes) {
      if (bytes <= MAX_DISCARDED_BYTES) await discard(c.req.raw.body, bytes, nextTurn);
      throw tooLarge(maxBytes);
    }
    const isSmall = bytes !== undefined && bytes <= SMALL_BYTES;
    const taken = bodies.take(owner, isSmall ? bytes : 0);
    c.set('body', isSmall ? undefined : { taken, owner: name });
    try {
      await next();
    } finally {
      taken.release();
    }
  };
}

/**
 * Reads a small body and validates it, in the event loop.
 * @throws OnewriterError INVALID_ARGUMENT naming the field, PAYLOAD_TOO_LARGE, RATE_LIMITED
 */
export async function readJsonBody<Schema extends z.ZodType>(
  c: Context<GatewayEnv>,
  schema: Schema,
): Promise<z.output<Schema>> {
  const bytes = await readBytes(c, MAX_LOOP_BYTES);
  if (c.get('body') !== undefined) await c.get('nextTurn')();
  return validate(schema, parseJson(bytes));
}

/** What the reading of bodies needs of the gateway. */
type BodyOptions = Pick<GatewayOptions, 'maxBodyBytes' | 'writeTimeoutMs' | 'bodies'>;

/**
 * Reads a body that has statements. A large one is read by another thread, which seals what it writes: the event loop, which all
 * tenants share, only passes bytes on.
 * @throws OnewriterError as {@link readJsonBody}, BodyReader.read()
 */
export async function readStatements<Name extends BodyName>(
  c: Context<GatewayEnv>,
  name: Name,
  options: BodyOptions,
): Promise<StatementBody<Name>> {
  const { bytes, apart } = await receive(c, options);
  if (apart === undefined) return readStatementBody(name, bytes);
  const flags = {
    idempotencyKey: name.startsWith('dropIn') ? undefined : readIdempotencyKey(c),
    requestId: c.get('requestId'),
    sender: senderOf(c.get('access')),
    detached: name === 'enqueue',
  };
  const tenant = c.req.param('tenant');
  return apart.reader.read({ name, bytes, flags, tenant }, apart.wait);
}

/**
 * Reads another body that may be large; then another thread reads it.
 * @throws OnewriterError as {@link readJsonBody}, BodyReader.readOther()
 */
export async function readOther<Name extends OtherBodyName>(
  c: Context<GatewayEnv>,
  name: Name,
  options: BodyOptions,
): Promise<OtherBodies[Name]> {
  const { bytes, apart } = await receive(c, options);
  return apart === undefined
    ? readOtherBody(name, bytes)
    : apart.reader.readOther({ name, bytes }, apart.wait);
}

/** The bytes of a body, and who is to read them where it is not the event loop; else it is its turn now. */
async function receive(
  c: Context<GatewayEnv>,
  { maxBodyBytes, writeTimeoutMs, bodies }: BodyOptions,
): Promise<{
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly apart?: { readonly reader: BodyReader; readonly wait: BodyWait };
}> {
  const bytes = await readBytes(c, maxBodyBytes);
  const large = c.get('body');
  if (large === undefined || bodies === undefined || !takesLong(bytes)) {
    if (large !== undefined) await c.get('nextTurn')();
    return { bytes };
  }
  const timeoutMs = c.get('receivedAt') + writeTimeoutMs - performance.now();
  const wait = { owner: turnOwner(c, large), timeoutMs, signal: c.req.raw.signal };
  return { bytes, apart: { reader: bodies, wait } };
}

/** Who has a turn for a body. A team's token for all tenants must not make one of them wait for another. */
function turnOwner(c: Context<GatewayEnv>, { owner }: LargeBody): string {
  const access = c.get('access');
  return access.tenants === '*' ? ownerOf(access, c.req.param('tenant')).names.at(-1)! : owner;
}

async function readBytes(c: Context<GatewayEnv>, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const large = c.get('body');
  return large === undefined
    ? new Uint8Array(await c.req.arrayBuffer())
    : await readAtMost(c.req.raw.body, maxBytes, large.taken, c.get('nextTurn'));
}

function declaredBytes(c: Context<GatewayEnv>): number | undefined {
  const length = c.req.header('content-length');
  return length === undefined || c.req.header('transfer-encoding') !== undefined ? undefined : Number(length);
}

/**
 * Each piece has a turn of its own: else Node reads 32 of them from each connection in one turn of the loop, and all others wait for
 * megabytes.
 */
async function readAtMost(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
  taken: Taken,
  nextTurn: () => Promise<void>,
): Promise<Uint8Array<ArrayBuffer>> {
  if (body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  let refusal: OnewriterError | undefined;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size <= maxBytes) refusal ??= tryAdd(taken, chunk.byteLength);
    if (size <= maxBytes && refusal === undefined) chunks.push(chunk);
    else chunks.length = 0;
    if (size > Math.max(maxBytes, MAX_DISCARDED_BYTES)) break;
    await nextTurn();
  }
  if (size > maxBytes) throw tooLarge(maxBytes);
  if (refusal !== undefined) throw refusal;
  return concat(chunks, size);
}

/** In a buffer of its own, which can be given to another thread: Buffer.concat() takes small ones from a pool. */
function concat(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}

/** @returns why there is no room for so many bytes more */
function tryAdd(taken: Taken, bytes: number): OnewriterError | undefined {
  try {
    taken.add(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof OnewriterError) return error;
    throw error;
  }
}

/** Reads and drops the rest of a body. */
async function discard(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
  nextTurn: () => Promise<void>,
): Promise<void> {
  if (body === null) return;
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size >= maxBytes) return;
    await nextTurn();
  }
}

function tooLarge(maxBytes: number): OnewriterError {
  return new OnewriterError('PAYLOAD_TOO_LARGE', `The request body is over ${maxBytes} bytes.`, { maxBytes });
}
