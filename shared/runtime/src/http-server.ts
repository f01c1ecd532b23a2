import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { OnewriterError } from '@onewriter/protocol';
import type { Logger } from './logger.ts';

/** Settings of {@link openHttpServer}. */
export interface HttpServerOptions {
  /** 0 is any free port. */
  readonly port: number;
  readonly host: string;
  /** Names of the settings of both, for errors. */
  readonly settings?: { readonly port: string; readonly host: string } | undefined;
  readonly log: Logger;
  /** Requests whose body may take as long as it likes; they handle a stalled body themselves. Default: none. */
  readonly mayStream?: ((request: IncomingMessage) => boolean) | undefined;
  /** An answer of which the caller reads nothing for this long is broken off. Default: 30,000. */
  readonly answerStallMs?: number | undefined;
  /** A request must have arrived in full by then. Default: 30,000. */
  readonly requestTimeoutMs?: number | undefined;
  /**
   * Connections at a time. Beyond it the one that was idle for the longest is closed, so that idle ones do not block new ones; where
   * all have a request under way the new one is. Default: 10,000.
   */
  readonly maxConnections?: number | undefined;
}

/** An HTTP server that can be drained. */
export interface HttpServer {
  readonly port: number;
  /** Set as soon as {@link close} is called. */
  readonly draining: boolean;
  /** Bytes read from and written to its sockets so far. */
  bytes(): { readonly read: number; readonly written: number };
  /**
   * Accepts no more connections, lets requests that are under way finish (their connections end with the answer),
   * and cuts what is left after `graceMs`. Idempotent.
   */
  close(graceMs: number): Promise<void>;
}

/** So that slow senders do not hold memory. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** Longer than the idle time of common load balancers (60 s): the side that closes first must be theirs. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const MAX_CONNECTIONS = 10_000;
/**
 * Requests of one connection that are not answered. Node hands on all that one packet has, a thousand and more, before it looks at
 * what waits to be sent.
 */
const MAX_PIPELINED = 100;

/** Writes an answer past Node's own, which there is none of, or none that could still come. */
function endWithError(socket: Duplex, status: string, message: string): void {
  const body = JSON.stringify({ error: message, code: 'INVALID_ARGUMENT' });
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

const UNAVAILABLE: Readonly<Record<string, (options: HttpServerOptions) => string>> = {
  EADDRINUSE: ({ port, settings }) =>
    `Port ${port} is in use by another process (EADDRINUSE). Give another with ${settings?.port ?? 'its setting'}, or 0 for any free one.`,
  EACCES: ({ port, settings }) =>
    `This user may not listen on port ${port} (EACCES). Give one from 1024 on with ${settings?.port ?? 'its setting'}.`,
  EADDRNOTAVAIL: ({ host, settings }) =>
    `This machine has no address ${host} (EADDRNOTAVAIL). Give one of its own with ${settings?.host ?? 'its setting'}.`,
};

function cannotListen(options: HttpServerOptions, error: NodeJS.ErrnoException): Error {
  const { code = '' } = error;
  const message = UNAVAILABLE[code]?.(options);
  return message === undefined
    ? error
    : new OnewriterError('MISCONFIGURED', message, { reason: code }, error);
}

/** Ends a request whose body has not arrived in time, as Node's own timeout would. */
function endIfSlow(request: IncomingMessage, response: ServerResponse, timeoutMs: number): void {
  const timer = setTimeout(() => {
    const { socket } = request;
    // A request is complete as soon as it has arrived, even if it is not read; its answer may take longer.
    if (request.complete) return;
    if (response.headersSent) socket.destroy();
    else endWithError(socket, ...CLIENT_ERRORS['ERR_HTTP_REQUEST_TIMEOUT']!);
  }, timeoutMs);
  const clear = () => clearTimeout(timer);
  request.once('end', clear);
  response.once('close', clear);
}

/** Answers to requests that are not HTTP, by Node's error code. */
const CLIENT_ERRORS: Readonly<Record<string, readonly [status: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'The request headers are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'The request did not arrive in time.'],
};

/**
 * Starts an HTTP server; it listens when this resolves.
 * @throws OnewriterError MISCONFIGURED if it cannot listen, with Node's code (EADDRINUSE, EACCES) in `details.reason`.
 */
export async function openHttpServer(
  listener: RequestListener,
  options: HttpServerOptions,
): Promise<HttpServer> {
  const answering = new Set<ServerResponse>();
  /** Those without a request under way come in the order in which they became idle. */
  const sockets = new Set<Socket>();
  /** Answers to requests under way, by socket. */
  const busy = new Map<Socket, Set<ServerResponse>>();
  const maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
  const requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  /** Bytes of sockets that are closed. */
  const gone = { read: 0, written: 0 };
  let closing: Promise<void> | undefined;

  const server = createServer(
    // Node's own timeout knows no exceptions.
    { requestTimeout: options.mayStream ? 0 : requestTimeoutMs, headersTimeout: HEADERS_TIMEOUT_MS },
    (request, response) => {
      const { socket } = request;
      const pipelined = busy.get(socket) ?? new Set<ServerResponse>();
      if (socket.destroyed || pipelined.size >= MAX_PIPELINED) {
        socket.destroy();
        return;
      }
      if (options.mayStream?.(request) === false) endIfSlow(request, response, requestTimeoutMs);
      const [before] = [...pipelined].slice(-1);
      answering.add(response);
      busy.set(socket, pipelined.add(response));
      response.once('close', () => {
        answering.delete(response);
        endRequest(socket, response);
        // A stream's headers were sent before the drain began: its connection does not end with it.
        if (closing !== undefined) setImmediate(() => server.closeIdleConnections());
      });
      if (closing !== undefined) response.setHeader('connection', 'close');
      // Answers leave in order anyway. Begun at once, a packet of requests would hold up all other connections, and a client
      // that reads no answer would have a hundred made. Measured: 20 connections with 100 requests each, 1.2 s for others.
      if (before === undefined) listener(request, response);
      else before.once('close', () => setImmediate(() => !socket.destroyed && listener(request, response)));
    },
  );
  // Node leaves a connection alone that is being written to. One with nothing to send waits for the work, or for events.
  server.setTimeout(options.answerStallMs ?? REQUEST_TIMEOUT_MS, socket => {
    if (socket.writableLength > 0) socket.destroy();
  });
  server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS;
  server.on('connection', socket => {
    if (sockets.size >= maxConnections) makeRoom(socket);
    if (socket.destroyed) return;
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      // Node says it only of the answer that is being sent, after this. Those behind it hold shares until they hear of it.
      setImmediate(() => {
        for (const response of busy.get(socket) ?? []) response.emit('close');
        busy.delete(socket);
      });
      gone.read += socket.bytesRead;
      gone.written += socket.bytesWritten;
    });
  });
  function endRequest(socket: Socket, response: ServerResponse): void {
    const others = busy.get(socket);
    others?.delete(response);
    if (others !== undefined && others.size > 0) return;
    busy.delete(socket);
    if (!sockets.delete(socket)) return;
    sockets.add(socket);
  }

  function makeRoom(newcomer: Socket): void {
    for (const socket of sockets) {
      if (busy.has(socket)) continue;
      sockets.delete(socket);
      socket.destroy();
      return;
    }
    newcomer.destroy();
  }

  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    const [status, message] = CLIENT_ERRORS[error.code ?? ''] ?? [
      '400 Bad Request',
      'The request is not HTTP.',
    ];
    endWithError(socket, status, message);
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', error => reject(cannotListen(options, error)));
    server.listen(options.port, options.host, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
  server.on('error', error => options.log.error({ err: error }, 'HTTP server failed'));

  async function drain(graceMs: number): Promise<void> {
    // This ends idle connections, too, but not those that a client opened in advance and has not used yet.
    const closed = new Promise<void>(resolve => server.close(() => resolve()));
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    // Kept-alive connections with a request under way end with its answer.
    for (const response of answering) if (!response.headersSent) response.setHeader('connection', 'close');
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(timer);
  }

  return {
    port: (server.address() as AddressInfo).port,
    get draining() {
      return closing !== undefined;
    },
    bytes: () => {
      const all = { ...gone };
      for (const socket of sockets) {
        all.read += socket.bytesRead;
        all.written += socket.bytesWritten;
      }
      return all;
    },
    close: graceMs => {
      closing ??= drain(graceMs);
      return closing;
    },
  };
}
