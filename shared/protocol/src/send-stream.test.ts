import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GATEWAY_NOT_REACHABLE, GatewayClient } from './gateway-client.ts';
import type { OnewriterError } from './onewriter-error.ts';

let server: Server;
let client: GatewayClient;
let answer: (response: ServerResponse, request: IncomingMessage) => void;

beforeEach(async () => {
  server = createServer((request, response) => answer(response, request));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  client = new GatewayClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
});

const failure = (promise: Promise<unknown>): Promise<OnewriterError> =>
  promise.then(
    () => expect.unreachable('It did not fail.'),
    error => error,
  );
const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status).end(JSON.stringify(body));

describe('a body that is streamed', () => {
  const PIECE_BYTES = 1024 * 1024;

  /** A body of that many pieces, and what became of it. */
  function bodyOf(pieces: number, onPiece: (piece: Uint8Array, index: number) => void = () => {}) {
    const counts = { given: 0 };
    let cancel: () => void;
    const cancelled = new Promise<void>(resolve => {
      cancel = resolve;
    });
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          if (counts.given === pieces) return controller.close();
          const piece = new Uint8Array(PIECE_BYTES);
          onPiece(piece, counts.given++);
          controller.enqueue(piece);
        },
        cancel: () => cancel(),
      },
      { highWaterMark: 0 },
    );
    return { body, counts, cancelled };
  }
  const STREAM = { timeoutMs: 20_000, streams: true, method: 'POST' };

  it('is not kept in memory once it is sent', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const pieces: WeakRef<Uint8Array>[] = [];
    answer = (response, request) => request.resume().once('end', () => response.end('[]'));
    let most = 0;
    const { body } = bodyOf(96, (piece, index) => {
      pieces.push(new WeakRef(piece));
      if (index % 16 !== 15) return;
      collect();
      most = Math.max(most, pieces.filter(it => it.deref() !== undefined).length);
    });
    expect(await client.json('/x', { ...STREAM, body })).toEqual([]);
    expect(pieces).toHaveLength(96);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(32);
  });

  it('waits for a gateway that reads slowly', async () => {
    let received = 0;
    let readAll: (() => void) | undefined;
    answer = (response, request) => {
      readAll = () =>
        request.on('data', (chunk: Buffer) => {
          received += chunk.length;
        });
      request.once('end', () => response.end('[]'));
    };
    const { body, counts } = bodyOf(128);
    const sent = client.json('/x', { ...STREAM, body });
    // Until the buffers of both sockets are full, and nothing more is taken.
    let before = -1;
    await vi.waitFor(
      () => {
        const stands = counts.given > 0 && counts.given === before;
        before = counts.given;
        expect(stands).toBe(true);
      },
      { timeout: 10_000, interval: 200 },
    );
    expect(counts.given).toBeLessThan(48);
    readAll!();
    expect(await sent).toEqual([]);
    expect(received).toBe(128 * PIECE_BYTES);
  });

  it('ends where the gateway answers before all of it was sent', async () => {
    for (const readsOn of [true, false]) {
      answer = (response, request) => {
        request.once('data', () => {
          json(response, 413, { error: { code: 'PAYLOAD_TOO_LARGE', message: 'no' } });
          if (readsOn) request.resume();
        });
      };
      const { body, cancelled } = bodyOf(Number.POSITIVE_INFINITY);
      expect((await failure(client.request('/x', { ...STREAM, body }))).code).toBe('PAYLOAD_TOO_LARGE');
      await cancelled;
    }
  });

  it('ends with the caller, before the answer and while it comes', async () => {
    for (const hasHead of [false, true]) {
      const caller = new AbortController();
      answer = (response, request) => {
        if (hasHead) response.write('{');
        request.once('data', () => request.resume());
      };
      const { body, cancelled } = bodyOf(Number.POSITIVE_INFINITY, (_, index) => {
        if (index === 20) caller.abort();
      });
      const request = { ...STREAM, body, signal: caller.signal };
      expect((await failure(client.json('/x', request))).code).toBe('ABORTED');
      await cancelled;
    }
  });

  it('ends with the connection, and fails where all of it was sent', async () => {
    for (const hasHead of [false, true]) {
      answer = (response, request) => {
        if (hasHead) response.write('{');
        request.once('data', () => response.destroy()).resume();
      };
      const { body, cancelled } = bodyOf(Number.POSITIVE_INFINITY);
      const { code, details } = await failure(client.json('/x', { ...STREAM, body }));
      expect([code, details.reason]).toEqual(['TENANT_UNAVAILABLE', GATEWAY_NOT_REACHABLE]);
      await cancelled;
    }
    answer = (response, request) => request.once('end', () => response.destroy()).resume();
    expect((await failure(client.json('/x', { ...STREAM, body: bodyOf(3).body }))).code).toBe(
      'TENANT_UNAVAILABLE',
    );
  });

  it('ends at the deadline of the head', async () => {
    answer = (_, request) => request.resume();
    const { body, cancelled } = bodyOf(Number.POSITIVE_INFINITY);
    expect((await failure(client.json('/x', { ...STREAM, timeoutMs: 100, body }))).code).toBe('TIMEOUT');
    await cancelled;
  });

  it('may begin after it was refused', async () => {
    answer = (response, request) => {
      json(response, 401, { error: { code: 'UNAUTHENTICATED', message: 'no' } });
      request.resume();
    };
    let cancel: () => void;
    const cancelled = new Promise<void>(resolve => {
      cancel = resolve;
    });
    const body = new ReadableStream<Uint8Array>({
      pull: () => new Promise(() => {}),
      cancel: () => cancel(),
    });
    expect((await failure(client.json('/x', { ...STREAM, body }))).code).toBe('UNAUTHENTICATED');
    await cancelled;
  });

  it('follows no redirect: it cannot be sent twice', async () => {
    const paths: string[] = [];
    answer = (response, request) => {
      paths.push(request.url!);
      request.resume();
      response.writeHead(303, { location: '/y' }).end();
    };
    const { body } = bodyOf(1);
    expect((await failure(client.request('/x', { ...STREAM, body }))).code).toBe('MISCONFIGURED');
    expect(paths).toEqual(['/x']);
  });
});
