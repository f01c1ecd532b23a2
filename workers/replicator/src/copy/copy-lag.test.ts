import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CopyLag } from './copy-lag.ts';

it('knows how old what is missing can be, also of a copy that never keeps up', () => {
  const lag = new CopyLag(10, 0);
  lag.note(10, 11, 5_000);
  expect(lag.behindMs(5_000)).toBe(0);
  // Away: nothing is copied.
  for (let number = 11; number <= 20; number++) lag.note(number, 11, number * 1_000);
  expect(lag.behindMs(20_000)).toBe(15_000);
  // Back, and always some packs behind.
  for (let number = 21; number <= 60; number++) lag.note(number, number - 3, number * 1_000);
  expect(lag.behindMs(60_000)).toBeLessThanOrEqual(8_000);
  lag.note(60, 61, 61_000);
  expect(lag.behindMs(61_000)).toBe(0);
});

it('never says less than the age of the oldest pack that is missing', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 200 }), steps => {
      const storedMs = [0];
      const lag = new CopyLag(0, 0);
      let [next, nowMs] = [1, 0];
      for (const isStored of steps) {
        nowMs += 10;
        if (isStored) storedMs.push(nowMs);
        else if (next < storedMs.length) next++;
        lag.note(storedMs.length - 1, next, nowMs);
        const oldest = storedMs[next];
        if (oldest !== undefined) expect(lag.behindMs(nowMs)).toBeGreaterThanOrEqual(nowMs - oldest);
      }
    }),
  );
});
