import * as http from 'node:http';
import * as https from 'node:https';
import { PassingError } from '../repeat-call.ts';
import { bucketUrl, type S3Settings } from './s3-settings.ts';
import { RequestSigner } from './sign-request.ts';

/*
 * Signed requests over connections that are kept. Node's own client, not fetch: its agent can be closed, bounds idle connections, and
 * takes a Buffer without a copy.
 */

export interface S3Request {
  readonly method: 'GET' | 'PUT' | 'POST';
  /** Path under the bucket, of characters that need no escape. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | undefined;
}

export interface S3Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Larger objects are read by range. */
const MAX_REPLY_BYTES = 1024 ** 3;

export class S3Client {
  readonly #bucket: URL;
  readonly #agent: http.Agent;
  readonly #signer: RequestSigner;

  constructor(bucket: string, settings: S3Settings) {
    this.#bucket = bucketUrl(bucket, settings);
    this.#signer = new RequestSigner(settings);
    const { Agent } = this.#bucket.protocol === 'https:' ? https : http;
    // Few idle ones: each may have been closed by the server, which is seen only when it is used.
    this.#agent = new Agent({ keepAlive: true, maxSockets: 64, maxFreeSockets: 4 });
  }

  /** One attempt. @throws PassingError where no whole answer comes */
  async send(request: S3Request, signal: AbortSignal, idleMs: number): Promise<S3Reply> {
    const url = new URL(request.path, this.#bucket);
    url.search = encodeQuery(request.query ?? {});
    const { method, body } = request;
    const headers = {
      ...this.#signer.sign({ ...request, url }),
      ...(method === 'GET' ? {} : { 'content-length': String(body?.byteLength ?? 0) }),
    };
    return exchange(url, { method, headers, agent: this.#agent, signal }, body, idleMs);
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** As the signature has it: a blank is %20, never '+'. */
function encodeQuery(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&');
}

function exchange(
  url: URL,
  options: http.RequestOptions,
  body: Uint8Array | undefined,
  idleMs: number,
): Promise<S3Reply> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, options);
    const fail = (error: NodeJS.ErrnoException) => {
      const stale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? '');
      reject(new PassingError(error.code ?? error.message, { cause: error, stale }));
    };
    request.setTimeout(idleMs, () => request.destroy(new Error(`nothing came for ${idleMs} ms`)));
    request.on('error', fail);
    request.on('response', response => {
      readBody(response).then(
        whole => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: whole }),
        fail,
      );
    });
    request.end(body);
  });
}

async function readBody(response: http.IncomingMessage): Promise<Buffer> {
  const length = Number(response.headers['content-length'] ?? Number.NaN);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (Math.max(bytes, length || 0) > MAX_REPLY_BYTES) throw new Error('the answer is too long');
  }
  if (!response.complete || (!Number.isNaN(length) && bytes !== length))
    throw new Error('the answer is cut off');
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
}
