import { expect, it } from 'vitest';
import { linesOf } from './dashboard-gateway.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

async function* inPieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  const all = bytes(text);
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(body)) lines.push(line);
  return lines;
}

it('finds the lines of an answer, however it is cut', async () => {
  for (const size of [1, 2, 3, 7, 100])
    expect(await collect(inPieces('[1]\n["ü🧵"]\n\n{}\n', size))).toEqual(['[1]', '["ü🧵"]', '', '{}']);
});

it('reads a row of 14 MB in pieces of 1 kB in a moment, and refuses a larger one', async () => {
  const long = 'x'.repeat(14_000_000);
  const begunAt = performance.now();
  expect((await collect(inPieces(`${long}\n`, 1_000)))[0]).toHaveLength(long.length);
  // Looking at the whole row again with each piece takes minutes.
  expect(performance.now() - begunAt).toBeLessThan(4_000);
  await expect(collect(inPieces('x'.repeat(17_000_000), 64_000))).rejects.toMatchObject({
    code: 'RESULT_TOO_LARGE',
  });
});
