import { expect, it } from 'vitest';
import { type Grant, JobMemory, SHARE_BYTES } from '../../lanes/job-memory.ts';
import { FetchMemory } from './fetch-memory.ts';

function createWaiter(onGranted: (memory: FetchMemory) => void) {
  const memory = new JobMemory(2 * SHARE_BYTES);
  const waiter: FetchMemory = new FetchMemory({
    memory,
    overtakesAt: () => undefined,
    onGranted: () => onGranted(waiter),
  });
  return { memory, waiter };
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve));

it('asks again with the memory that came, and releases what is not used', async () => {
  const used: (Grant | undefined)[] = [];
  const { memory, waiter } = createWaiter(self => used.push(self.request([SHARE_BYTES, SHARE_BYTES])));
  const others = memory.requestNow(SHARE_BYTES, SHARE_BYTES)!;
  expect(waiter.request([SHARE_BYTES, SHARE_BYTES])).toBeUndefined();
  others.release();
  await turn();
  expect(used.map(grant => grant?.bytes)).toEqual([SHARE_BYTES]);
  used[0]!.release();
  expect(memory.used).toBe(0);
});

it('releases memory that is not needed any more, and waits no more after a cancel', async () => {
  let granted = 0;
  const { memory, waiter } = createWaiter(() => granted++);
  for (const isCanceled of [false, true]) {
    const others = memory.requestNow(SHARE_BYTES, SHARE_BYTES)!;
    expect(waiter.request([SHARE_BYTES, SHARE_BYTES])).toBeUndefined();
    if (isCanceled) waiter.cancel();
    others.release();
    await turn();
    expect([granted, memory.used, memory.waiting]).toEqual([1, 0, 0]);
  }
});
