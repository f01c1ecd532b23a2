import { expect, it } from 'vitest';
import { LaneProgress } from './lane-progress.ts';

function create() {
  const cells = new Int32Array(new SharedArrayBuffer(32));
  const progress = new LaneProgress(cells);
  progress.reset();
  return { cells, progress };
}

it('begins before the first item, at its files', () => {
  const { progress } = create();
  expect([progress.item, progress.hasBegun, progress.isAtFiles]).toEqual([-1, false, true]);
});

it('is at the item, the job and the write that the thread has noted', () => {
  const { cells, progress } = create();
  cells.set([0, 4, 7, 3, 0]);
  expect([progress.item, progress.position, progress.hasBegun, progress.isAtFiles]).toEqual([
    ...[2, { job: 4, op: 7 }, true, false],
  ]);
  progress.reset();
  expect([progress.item, progress.hasBegun]).toEqual([-1, false]);
  progress.beginAlone();
  expect([progress.item, progress.hasBegun]).toEqual([0, false]);
});

it('revokes what has not begun, once, and still knows the current item', () => {
  const { cells, progress } = create();
  cells[3] = 2;
  expect([progress.revoke(), progress.revoke(), progress.item]).toEqual([2, undefined, 1]);
  // The thread begins no item whose number is this high.
  expect(cells[3]).toBeGreaterThan(1_000_000);
});
