import { expect, test } from 'vitest';
import { TransactionWrites } from './transaction-writes.ts';

function summaryOf(writes: TransactionWrites, kinds: number, ...who: readonly string[]) {
  writes.begin();
  writes.kinds = kinds;
  for (const name of who) writes.add(name);
  return writes.summarize();
}

test('counts the writes of each writer, and begins again with each transaction', () => {
  const writes = new TransactionWrites();
  expect(summaryOf(writes, 3, 'a', 'b', 'b')).toEqual({
    ...{ writes: 3, kinds: 3 },
    by: [
      ['b', 2],
      ['a', 1],
    ],
  });
  expect(summaryOf(writes, 1, 'a')).toEqual({ writes: 1, kinds: 1, by: [['a', 1]] });
  expect(summaryOf(writes, 0)).toBeUndefined();
});

test('repeats its summary only where all of it is the same', () => {
  const writes = new TransactionWrites();
  const first = summaryOf(writes, 1, 'a');
  expect(summaryOf(writes, 1, 'a')).toBe(first);
  expect(summaryOf(writes, 2, 'a')).toEqual({ writes: 1, kinds: 2, by: [['a', 1]] });
  expect(summaryOf(writes, 2, 'b')).toEqual({ writes: 1, kinds: 2, by: [['b', 1]] });
  expect(summaryOf(writes, 2, 'b', 'b')).toEqual({ writes: 2, kinds: 2, by: [['b', 2]] });
  expect(summaryOf(writes, 2, 'b', 'a')?.by).toHaveLength(2);
});
