import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import { assertBody, decodeIndex, encodePack } from './pack.ts';

const HEAD = { level: 0, number: 7, term: 2, writtenAtMs: 5 } as const;
const bodies = [randomBytes(100), randomBytes(2_000)] as const;
const { bytes, index } = encodePack(HEAD, [
  { entry: testEntry({ kind: 'full', min: 1, max: 1 }), body: bodies[0] },
  { entry: testEntry({ kind: 'pages', min: 2, max: 4 }), body: bodies[1] },
  { entry: testEntry({ tenant: 'gone', kind: 'deleted', min: 9, max: 9 }) },
]);

it('has an index that leads to each body', () => {
  const read = decodeIndex(bytes, bytes.length);
  expect(read).toEqual(index);
  expect(index).toMatchObject(HEAD);
  for (const [at, body] of bodies.entries()) {
    const entry = index.entries[at]!;
    const found = bytes.subarray(entry.offset, entry.offset + entry.length);
    expect(found.equals(body)).toBe(true);
    expect(() => assertBody(entry, found)).not.toThrow();
  }
});

it('says how much of its end is needed', () => {
  const read = decodeIndex(bytes.subarray(-40), bytes.length);
  if (!('needs' in read)) throw new Error('It was read out of 40 bytes.');
  expect(decodeIndex(bytes.subarray(-read.needs), bytes.length)).toEqual(index);
});

it('refuses what was cut or changed', () => {
  expect(() => decodeIndex(bytes.subarray(0, -1), bytes.length - 1)).toThrow('damaged');
  const changed = Buffer.from(bytes);
  const at = bytes.length - 40;
  changed[at] = changed[at]! ^ 1;
  expect(() => decodeIndex(changed, changed.length)).toThrow('changed');
  const body = Buffer.from(bodies[1]);
  body[0] = body[0]! ^ 1;
  expect(() => assertBody(index.entries[1]!, body)).toThrow('changed in the store');
});
