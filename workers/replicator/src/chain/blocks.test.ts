import fc from 'fast-check';
import { expect, it } from 'vitest';
import { childrenOf, numbersOf, packsFor } from './blocks.ts';

it('counts blocks of each level from 1', () => {
  expect(numbersOf({ level: 0, number: 7 })).toEqual({ first: 7, last: 7 });
  expect(numbersOf({ level: 1, number: 2 })).toEqual({ first: 33, last: 64 });
  expect(numbersOf({ level: 3, number: 1 })).toEqual({ first: 1, last: 4_096 });
});

it('makes a pack of those that stand for the same numbers', () => {
  for (const level of [1, 2, 3] as const) {
    const pack = { level, number: 3 };
    const children = childrenOf(pack).map(numbersOf);
    const { first, last } = numbersOf(pack);
    expect([children[0]!.first, children.at(-1)!.last]).toEqual([first, last]);
    for (const [index, child] of children.slice(1).entries())
      expect(child.first).toBe(children[index]!.last + 1);
  }
});

it('finds packs for any numbers: each once, in order, none that was not made, and few', () => {
  const number = fc.integer({ min: 1, max: 20_000 });
  fc.assert(
    fc.property(number, number, number, (one, other, shipped) => {
      const [from, to] = [Math.min(one, other), Math.max(one, other)];
      const covered = {
        1: shipped - (shipped % 32),
        2: shipped - (shipped % 512),
        3: shipped - (shipped % 4_096),
      };
      let next = from;
      for (const pack of packsFor(from, to, covered)) {
        const { first, last } = numbersOf(pack);
        if (first !== next || (pack.level > 0 && last > covered[pack.level as 1 | 2 | 3])) return false;
        next = last + 1;
      }
      return next === to + 1;
    }),
    { numRuns: 50 },
  );
  expect(packsFor(4_097, 8_191, { 1: 8_191 - 31, 2: 7_680, 3: 4_096 })).toHaveLength(7 + 15 + 31);
});
