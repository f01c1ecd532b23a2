import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import type { GatewayEnv } from '../gateway-env.ts';
import { errorResponse } from '../http/error-response.ts';
import { Shares } from '../security/shares.ts';
import { LoopTurns } from '../streams/loop-turns.ts';
import { acceptJsonBody, readStatements } from './json-body.ts';

const PIECE = 64 * 1024;
const PIECES = 8;

/** Sends a body, and says in which turn of the event loop each of its pieces was taken. */
async function send(maxBytes: number, maxHeldBytes: number, headers: Record<string, string> = {}) {
  const bodies = new Shares({ what: 'request bodies', total: maxHeldBytes, share: maxHeldBytes });
  const app = new Hono<GatewayEnv>();
  app.onError((error, c) => errorResponse(c, error as never));
  app.use(async (c, next) => {
    c.set('access', { id: 'a', tenants: ['x'] } as never);
    await next();
  });
  app.post('/', acceptJsonBody(maxBytes, bodies, new LoopTurns()), async c => {
    await readStatements(c, 'query', {
      maxBodyBytes: maxBytes,
      writeTimeoutMs: 1_000,
      bodies: undefined,
    } as never);
    return c.text('');
  });
  let loop = 0;
  let done = false;
  const count = () => {
    loop++;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  const takenIn: number[] = [];
  const text = `{"sql":"SELECT 1","more":"${'x'.repeat(PIECES * PIECE)}"}`;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const at = takenIn.length * PIECE;
        takenIn.push(loop);
        if (at < text.length) controller.enqueue(Buffer.from(text.slice(at, at + PIECE)));
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  const init = {
    method: 'POST',
    body,
    duplex: 'half',
    headers: { 'content-type': 'application/json', ...headers },
  };
  const { status } = await app.request('/', init as RequestInit);
  done = true;
  return { status, takenIn };
}

describe('the pieces of a large body', () => {
  it.each([
    ['are read', 200, 10 * PIECES * PIECE, 10 * PIECES * PIECE, {}],
    ['are dropped without room', 429, 10 * PIECES * PIECE, PIECE, {}],
    ['are dropped where they are too many', 413, PIECE, PIECE, {}],
    ['are dropped where they were declared', 413, PIECE, PIECE, { 'content-length': String(PIECES * PIECE) }],
  ])('%s in turns of the event loop', async (_, expected, maxBytes, maxHeldBytes, headers) => {
    const { status, takenIn } = await send(maxBytes, maxHeldBytes, headers);
    expect(status).toBe(expected);
    expect(takenIn.length).toBeGreaterThanOrEqual(PIECES);
    expect(new Set(takenIn).size).toBe(takenIn.length);
  });
});
