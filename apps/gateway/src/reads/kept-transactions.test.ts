import { expect, it, vi } from 'vitest';
import { KeptTransactions } from './kept-transactions.ts';

it('finds the process that keeps a transaction, until it is forgotten', () => {
  const kept = new KeptTransactions<string>();
  const forgotten = vi.fn();
  kept.add('t1', 'p', 'acme', forgotten);
  expect([kept.has('p'), kept.has('q')]).toEqual([true, false]);
  expect([kept.hasOther('p', 'acme'), kept.hasOther('p', 'b'), kept.hasOther('q', 'b')]).toEqual([
    false,
    true,
    false,
  ]);
  expect([kept.forget('t1'), kept.forget('t1')]).toEqual(['p', undefined]);
  expect(forgotten).toHaveBeenCalledOnce();
  expect(kept.has('p')).toBe(false);
});

it('forgets all transactions of a process that has ended, and no others', () => {
  const kept = new KeptTransactions<string>();
  const [first, second, other] = [vi.fn(), vi.fn(), vi.fn()];
  kept.add('t1', 'p', 'a', first);
  kept.add('t2', 'p', 'a', second);
  kept.add('t3', 'q', 'a', other);
  kept.forgetAllOf('p');
  expect([first, second, other].map(mock => mock.mock.calls.length)).toEqual([1, 1, 0]);
  expect([kept.forget('t1'), kept.forget('t3')]).toEqual([undefined, 'q']);
});
