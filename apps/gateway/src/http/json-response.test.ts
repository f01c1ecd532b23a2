import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import type { GatewayEnv } from '../gateway-env.ts';
import { jsonElements, jsonResponse } from './json-response.ts';

const KIB = 1024;
/** Pieces that reading processes send, and a row that is larger than all of them. */
const ROWS = [1, 128, 127, 40, 1_000].map((kib, index) => Buffer.alloc(kib * KIB, 97 + index));

function answerWith(rows: readonly Uint8Array[]) {
  let turns = 0;
  let held: () => number = () => Number.NaN;
  const app = new Hono<GatewayEnv>();
  app.get('/', c => {
    c.set('nextTurn', async () => void turns++);
    const response = jsonResponse(c, '{"rows":[', rows, ']}');
    held = c.get('heldBytes') ?? held;
    return response;
  });
  return { response: app.request('/'), turns: () => turns, held: () => held() };
}

describe('a large answer', () => {
  it('leaves in pieces, each in a turn of its own', async () => {
    const { response, turns, held } = answerWith(ROWS);
    const { body, headers } = await response;
    const bytes = 1_296 * KIB + '{"rows":[]}'.length;
    expect(headers.get('content-length')).toBe(String(bytes));
    expect(turns()).toBe(0);
    expect(held()).toBe(bytes);
    const pieces: Uint8Array[] = [];
    for await (const piece of body!) {
      pieces.push(piece);
      expect(piece.byteLength).toBeLessThanOrEqual(128 * KIB);
      expect(held()).toBe(bytes - pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
    }
    // The last turn finds that there is no more.
    expect(turns()).toBe(pieces.length + 1);
    expect(
      Buffer.concat(pieces).equals(Buffer.concat([Buffer.from('{"rows":['), ...ROWS, Buffer.from(']}')])),
    ).toBe(true);
  });

  it('is let go of where its caller leaves', async () => {
    const { response, held } = answerWith(ROWS);
    const reader = (await response).body!.getReader();
    await reader.read();
    expect(held()).toBeGreaterThan(0);
    await reader.cancel();
    expect(held()).toBe(0);
  });
});

it('sends a small one at once', async () => {
  const { response, turns, held } = answerWith([Buffer.from('1,'), Buffer.from('2')]);
  expect(await (await response).text()).toBe('{"rows":[1,2]}');
  expect(turns()).toBe(0);
  expect(held()).toBeNaN();
});

it('writes the elements of an array in turns', async () => {
  const elements = Array.from({ length: 10 }, (_, id) => ({ id, text: 'x'.repeat(60 * KIB) }));
  let turns = 0;
  const parts = await jsonElements(elements, async () => void turns++);
  expect(turns).toBe(3);
  expect(JSON.parse(`[${Buffer.concat(parts)}]`)).toEqual(elements);
  expect(Buffer.concat(await jsonElements([], async () => {}))).toHaveLength(0);
});
