import type { ApplyOutcome } from '@onewriter/writer';
import { expect, it } from 'vitest';
import { GroupSize } from './group-size.ts';

const took = (ms: number) =>
  ({ kind: 'applied', stats: { openMs: 0, applyMs: ms, commitMs: 0 } }) as unknown as ApplyOutcome;

function after(ms: number, batches = 100, most?: number): number {
  const size = new GroupSize(most);
  for (let batch = 0; batch < batches; batch++) size.note(took(ms));
  return size.next;
}

it('is what a tenth of a second has room for, between one and its maximum', () => {
  expect([after(0, 0), after(1), after(24), after(300), after(1, 100, 2)]).toEqual([4, 16, 4, 1, 2]);
});

it('hardly changes with one long batch, or with one that was refused', () => {
  const size = new GroupSize();
  for (let batch = 0; batch < 100; batch++) size.note(took(5));
  size.note({ kind: 'refused' } as ApplyOutcome);
  size.note(took(60_000));
  expect(size.next).toBe(6);
});
