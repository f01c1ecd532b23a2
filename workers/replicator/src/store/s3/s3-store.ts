import { createHash } from 'node:crypto';
import { OnewriterError } from '@onewriter/protocol';
import type { ByteRange, CallOptions, ListedObject, PutCondition, StoredObject } from '../object-store.ts';
import { PassingError, repeatCall } from '../repeat-call.ts';
import { assertKey, assertPrefix, assertRange, isKey, resolveRange } from '../store-key.ts';
import { type OpenStore, type RequestKind, StoreWatch } from '../store-watch.ts';
import { S3Client, type S3Reply, type S3Request } from './s3-client.ts';
import type { S3Settings } from './s3-settings.ts';
import { deleteBody, parseDeleteFailures, parseFailure, parseListPage, type S3ListPage } from './s3-xml.ts';

/** Source: Amazon S3 API reference, ListObjectsV2 and DeleteObjects. */
const PAGE = 1_000;
/** Answers that another attempt may change, beside 5xx. */
const PASSING_STATUSES = [408, 425, 429];
const PASSING_CODES = ['ConditionalRequestConflict', 'OperationAborted', 'RequestTimeout', 'SlowDown'];

interface Value<T> {
  readonly value: T;
}
type Put = Awaited<ReturnType<OpenStore['put']>>;

export interface S3StoreOptions {
  readonly bucket: string;
  /** '' or ending with '/'. */
  readonly prefix: string;
  readonly address: string;
  readonly settings: S3Settings;
}

/** A bucket of an S3-compatible store. */
export class S3Store implements OpenStore {
  readonly address: string;
  readonly #prefix: string;
  readonly #client: S3Client;
  readonly #watch: StoreWatch;

  constructor({ bucket, prefix, address, settings }: S3StoreOptions) {
    this.address = address;
    this.#prefix = prefix;
    this.#client = new S3Client(bucket, settings);
    this.#watch = new StoreWatch(address);
  }

  status() {
    return this.#watch.status();
  }

  async get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<StoredObject | undefined> {
    assertKey(key);
    const { range } = options;
    if (range !== undefined) assertRange(range);
    const headers = range === undefined ? {} : { range: rangeHeader(range) };
    const request: S3Request = { method: 'GET', path: this.#prefix + key, headers };
    return this.#call<StoredObject | undefined>('get', `GET ${key}`, request, options, reply => {
      if (isMissing(reply)) return { value: undefined };
      return readObject(reply, range);
    });
  }

  async put(
    key: string,
    body: Uint8Array,
    options: CallOptions & { readonly condition?: PutCondition | undefined } = {},
  ): Promise<Put> {
    assertKey(key);
    const { condition } = options;
    const request: S3Request = {
      method: 'PUT',
      path: this.#prefix + key,
      headers: { 'content-type': 'application/octet-stream', ...conditionHeader(condition) },
      body,
    };
    return this.#call<Put>('put', `PUT ${key}`, request, options, reply => {
      // A conditional PUT of an object that is gone answers 404.
      const fails = reply.status === 412 || isMissing(reply);
      if (condition !== undefined && fails) return { value: { kind: 'exists' } };
      return reply.status === 200 ? { value: { kind: 'stored', etag: etagOf(reply) } } : undefined;
    });
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    keys.forEach(assertKey);
    for (let from = 0; from < keys.length; from += PAGE) {
      const body = deleteBody(keys.slice(from, from + PAGE).map(key => this.#prefix + key));
      // The oldest of the checksums that S3 takes for DeleteObjects, so the one that all compatible stores know.
      const headers = { 'content-md5': createHash('md5').update(body).digest('base64') };
      const request: S3Request = { method: 'POST', path: '', query: { delete: '' }, headers, body };
      await this.#call('delete', `DELETE of ${keys.length} objects`, request, options, reply => {
        if (reply.status !== 200) return undefined;
        const [failure] = parseDeleteFailures(reply.body).filter(({ code }) => code !== 'NoSuchKey');
        if (failure === undefined) return { value: undefined };
        if (failure.code !== 'AccessDenied') throw new PassingError(`${failure.code} ${failure.message}`);
        throw refused(`DELETE of ${keys.length} objects`, failure.code, failure.message);
      });
    }
  }

  async *list(
    prefix: string,
    options: CallOptions & { readonly after?: string | undefined } = {},
  ): AsyncIterable<ListedObject> {
    assertPrefix(prefix);
    if (options.after !== undefined) assertPrefix(options.after);
    let next: string | undefined;
    do {
      const page: S3ListPage = await this.#listPage(prefix, options, next);
      for (const object of page.objects) {
        const key = object.key.slice(this.#prefix.length);
        // What others put there is none of the replica's objects.
        if (object.key.startsWith(this.#prefix) && isKey(key)) yield { ...object, key };
      }
      next = page.next;
    } while (next !== undefined);
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #listPage(
    prefix: string,
    options: CallOptions & { readonly after?: string | undefined },
    next: string | undefined,
  ): Promise<S3ListPage> {
    const query = {
      'list-type': '2',
      'max-keys': String(PAGE),
      prefix: this.#prefix + prefix,
      ...(options.after !== undefined && { 'start-after': this.#prefix + options.after }),
      ...(next !== undefined && { 'continuation-token': next }),
    };
    const request: S3Request = { method: 'GET', path: '', query };
    return this.#call('list', `LIST ${prefix}`, request, options, reply =>
      reply.status === 200 ? { value: parseListPage(reply.body) } : undefined,
    );
  }

  /** @param read the value of an answer, undefined for a failure; it may throw PassingError */
  #call<T>(
    kind: RequestKind,
    what: string,
    request: S3Request,
    options: CallOptions,
    read: (reply: S3Reply) => Value<T> | undefined,
  ): Promise<T> {
    return repeatCall(what, options, async (signal, idleMs) => {
      this.#watch.sent(kind, request.body?.byteLength);
      try {
        const reply = await this.#client.send(request, signal, idleMs);
        const value = readReply(what, reply, read);
        this.#watch.answered(reply.body.length);
        return value;
      } catch (error) {
        // What the caller gave up says nothing of the store.
        if (!options.signal?.aborted) this.#watch.failed((error as Error).message);
        throw error;
      }
    });
  }
}

function readReply<T>(what: string, reply: S3Reply, read: (reply: S3Reply) => Value<T> | undefined): T {
  const found = read(reply);
  if (found !== undefined) return found.value;
  const { status } = reply;
  const { code, message } = parseFailure(reply.body);
  const isPassing = (status >= 500 && status !== 501) || PASSING_STATUSES.includes(status);
  if (isPassing || PASSING_CODES.includes(code)) throw new PassingError(`${status} ${code}`.trim());
  throw refused(what, `${status} ${code}`.trim(), message);
}

/** The object is missing, not its bucket. */
function isMissing({ status, body }: S3Reply): boolean {
  return status === 404 && parseFailure(body).code === 'NoSuchKey';
}

function readObject(reply: S3Reply, range: ByteRange | undefined): Value<StoredObject> | undefined {
  const { status, body, headers } = reply;
  const total = /^bytes (?:(\d+)-\d+|\*)\/(\d+)$/.exec(headers['content-range'] ?? '');
  if (status === 416 && range !== undefined) {
    return { value: { body: Buffer.alloc(0), etag: headers.etag ?? '', size: Number(total?.[2] ?? 0) } };
  }
  if (status === 200) {
    const { from, to } = resolveRange(range, body.length);
    return { value: { body: body.subarray(from, to), etag: etagOf(reply), size: body.length } };
  }
  if (status !== 206 || range === undefined) return undefined;
  const size = Number(total?.[2]);
  const { from, to } = resolveRange(range, size);
  if (Number(total?.[1]) !== from || body.length !== to - from) {
    throw new PassingError('the answer has other bytes than were asked for');
  }
  return { value: { body, etag: etagOf(reply), size } };
}

function etagOf({ headers }: S3Reply): string {
  if (headers.etag) return headers.etag;
  throw refused('The store', 'no ETag', 'an S3-compatible store sends one with each object');
}

function rangeHeader(range: ByteRange): string {
  return 'last' in range ? `bytes=-${range.last}` : `bytes=${range.from}-${range.from + range.length - 1}`;
}

function conditionHeader(condition: PutCondition | undefined): Record<string, string> {
  if (condition === undefined) return {};
  return condition.kind === 'new' ? { 'if-none-match': '*' } : { 'if-match': condition.etag };
}

function refused(what: string, code: string, message: string): OnewriterError {
  return new OnewriterError('REPLICA_REFUSED', `${what} was refused: ${code}${message && ` (${message})`}.`);
}
