import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';

/*
 * A request whose body is a stream. Not by fetch: it clones the body, and the clone keeps all that was sent in memory; and once a
 * connection has ended it reads the rest of the body, as fast as it can, for no one.
 */

/** What of a request is no body. */
export interface StreamHead {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Ends the request, and the answer as well. */
  readonly signal: AbortSignal;
}

/** What of an answer may wait here for its reader. */
const MAX_UNREAD_BYTES = 64 * 1024;
/** These have no body. */
const EMPTY: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * Sends a body as fast as it is taken, on a connection of its own, and follows no redirect. The answer may come before all is sent;
 * where it ends first, the rest of the body is cancelled.
 * @returns the head of the answer; its body follows. @throws the signal's reason; errors of the connection and of the body
 */
export function sendStream(
  url: string,
  { method, headers, signal }: StreamHead,
  body: ReadableStream<Uint8Array>,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const ask = url.startsWith('https:') ? requestHttps : requestHttp;
    const request = ask(url, { method, headers, signal, agent: false });
    // Once there is an answer, its reader sees what happens to the connection.
    const fail = (error: unknown) => reject(signal.aborted ? signal.reason : error);
    request.once('response', incoming => resolve(toResponse(incoming))).on('error', fail);
    // The gateway may refuse it by its head alone, and the body may be slow to begin.
    request.flushHeaders();
    pipeline(Readable.fromWeb(body as NodeReadableStream<Uint8Array>), request).catch(fail);
  });
}

function toResponse(incoming: IncomingMessage): Response {
  const status = incoming.statusCode!;
  const headers = new Headers();
  for (const [name, values] of Object.entries(incoming.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  if (EMPTY.has(status)) {
    incoming.resume();
    return new Response(null, { status, headers });
  }
  const strategy = new ByteLengthQueuingStrategy({ highWaterMark: MAX_UNREAD_BYTES });
  return new Response(Readable.toWeb(incoming, { strategy }) as ReadableStream<Uint8Array>, {
    status,
    headers,
  });
}
