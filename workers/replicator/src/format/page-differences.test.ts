import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeDifferences, encodeDifferences } from './page-differences.ts';

/** Changes of a page: where, and how many bytes. */
const changes = fc.array(fc.tuple(fc.nat(4_000), fc.nat(95)), { maxLength: 8 });

function encode(pages: readonly { number: number; bytes: Buffer }[]): Buffer {
  return Buffer.concat(encodeDifferences(pages, 4_096));
}

it('gives back pages that changed in any places, and takes a word more than a page at most', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), changes), { maxLength: 30 }), steps => {
      const newest = new Map<number, Buffer>();
      const pages = steps.map(([number, places]) => {
        // At an odd place in memory, as a page after the header of a body may be.
        const bytes = Buffer.alloc(4_097).subarray(1);
        newest.get(number)?.copy(bytes);
        for (const [at, count] of places) randomBytes(count).copy(bytes, at);
        newest.set(number, bytes);
        return { number, bytes };
      });
      const numbers = Uint32Array.from(pages, ({ number }) => number);
      const encoded = encode(pages);
      expect(encoded.length).toBeLessThanOrEqual(pages.length * 4_100);
      const decoded = decodeDifferences(encoded, numbers, 4_096);
      expect(decoded?.equals(Buffer.concat(pages.map(({ bytes }) => bytes)))).toBe(true);
    }),
  );
});

it('takes as much as differs', () => {
  const bytes = randomBytes(4_096);
  const changed = Buffer.from(bytes);
  changed.writeUInt32LE(7, 96);
  const [first, again] = [
    { number: 5, bytes },
    { number: 5, bytes: changed },
  ];
  expect(encode([first, again]).length - encode([first]).length).toBe(12);
});

it('is more than one part for many pages', () => {
  const pages = Array.from({ length: 600 }, (_, index) => ({ number: index + 1, bytes: randomBytes(4_096) }));
  expect(encodeDifferences(pages, 4_096).length).toBe(3);
  const decoded = decodeDifferences(
    encode(pages),
    Uint32Array.from(pages, page => page.number),
    4_096,
  );
  expect(decoded?.equals(Buffer.concat(pages.map(({ bytes }) => bytes)))).toBe(true);
});

it('refuses bytes that are not so many pages', () => {
  const encoded = encode([{ number: 1, bytes: randomBytes(4_096) }]);
  const decode = (bytes: Buffer, count = 1) =>
    decodeDifferences(bytes, Uint32Array.from({ length: count }).fill(1), 4_096);
  expect(decode(encoded)).toBeDefined();
  for (const bytes of [encoded.subarray(0, -4), encoded.subarray(0, -1), Buffer.alloc(4), Buffer.of()]) {
    expect(decode(bytes)).toBeUndefined();
  }
  expect(decode(Buffer.concat([encoded, Buffer.of(1, 0, 0, 0)]))).toBeUndefined();
  expect(decode(encoded, 2)).toBeUndefined();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), noise => {
      expect(decode(Buffer.from(noise))?.length ?? 4_096).toBe(4_096);
    }),
  );
});
