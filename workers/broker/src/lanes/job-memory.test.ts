import { describe, expect, it } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import {
  bytesThatFit,
  costOfJob,
  type Grant,
  JobMemory,
  jobMemoryBytes,
  type MemoryWaiter,
  maxCostOfJobs,
  SHARE_BYTES,
} from './job-memory.ts';

const turn = () => new Promise(setImmediate);

/** Waits for memory, and keeps its grant. */
class Waiter implements MemoryWaiter {
  grant: Grant | undefined;
  readonly overtakesAt: number | undefined;

  constructor(overtakesAt?: number | undefined) {
    this.overtakesAt = overtakesAt;
  }

  onMemory(grant: Grant): void {
    this.grant = grant;
  }

  ask(memory: JobMemory, minimum: number, desired = minimum): this {
    this.grant = memory.request(this, minimum, desired);
    return this;
  }
}

describe('what a job costs', () => {
  it('is never more than its size in Redis says, whatever characters it has', () => {
    const random = createRandom(1);
    const alphabets = ['abc', 'aé', 'aé漢', '😀a'];
    for (let round = 0; round < 400; round++) {
      const characters = [...alphabets[round % alphabets.length]!];
      const length = Math.floor(random() * 3_000);
      const data = Array.from({ length }, () => characters[Math.floor(random() * characters.length)]!).join(
        '',
      );
      const bytes = Buffer.byteLength(data);
      expect(costOfJob(data)).toBeLessThanOrEqual(maxCostOfJobs(1, bytes));
      // The result of a fetch fits into its grant.
      expect(bytesThatFit(1, maxCostOfJobs(1, bytes))).toBe(bytes);
    }
  });

  it('doubles where a character may need two bytes', () => {
    const [narrow, latin, wide] = ['e', 'é', '漢'].map(one => costOfJob(one.repeat(1_000)) - costOfJob(''));
    expect(wide).toBe(2 * narrow!);
    // Finding out that it needs one would take too long.
    expect(latin).toBe(wide);
  });

  it('is bounded by a quarter of the heap, unless a setting says more', () => {
    expect(jobMemoryBytes(undefined)).toBeGreaterThan(16 * 1024 * 1024 - 1);
    expect(jobMemoryBytes(undefined)).toBeLessThanOrEqual(2 ** 31);
    expect(jobMemoryBytes(1_234_567)).toBe(1_234_567);
  });
});

describe('memory for jobs', () => {
  it('is granted up to its bound, and goes to the next waiter when it is released', async () => {
    const memory = new JobMemory(8 * SHARE_BYTES);
    const first = Array.from({ length: 4 }, () => new Waiter().ask(memory, SHARE_BYTES));
    expect(first.map(({ grant }) => grant?.bytes)).toEqual(Array(4).fill(SHARE_BYTES));
    const late = new Waiter().ask(memory, SHARE_BYTES);
    expect(late.grant).toBeUndefined();
    expect(memory.requestNow(SHARE_BYTES, SHARE_BYTES)).toBeUndefined();
    first[2]!.grant!.release();
    await turn();
    expect(late.grant?.bytes).toBe(SHARE_BYTES);
    expect(memory.waiting).toBe(0);
  });

  it('keeps small and large jobs from waiting for one another', () => {
    const memory = new JobMemory(8 * SHARE_BYTES);
    new Waiter().ask(memory, 4 * SHARE_BYTES);
    expect(new Waiter().ask(memory, 4 * SHARE_BYTES).grant).toBeUndefined();
    expect(new Waiter().ask(memory, SHARE_BYTES).grant).toBeDefined();
  });

  it('grants a job that is larger than all of it when no other large one is held', async () => {
    const memory = new JobMemory(8 * SHARE_BYTES);
    const small = new Waiter().ask(memory, 2 * SHARE_BYTES);
    const huge = new Waiter().ask(memory, 100 * SHARE_BYTES);
    const next = new Waiter().ask(memory, 2 * SHARE_BYTES);
    expect([huge.grant, next.grant]).toEqual([undefined, undefined]);
    small.grant!.release();
    await turn();
    expect(huge.grant?.bytes).toBe(100 * SHARE_BYTES);
    // It does not lose its turn to those that would fit.
    expect(next.grant).toBeUndefined();
    huge.grant!.release();
    await turn();
    expect(next.grant).toBeDefined();
    next.grant!.release();
    expect(memory.used).toBe(0);
  });

  it('grants a larger wish a part of the free memory', () => {
    const memory = new JobMemory(2 * 64 * SHARE_BYTES);
    expect(memory.requestNow(SHARE_BYTES, 1_000 * SHARE_BYTES)!.bytes).toBe(8 * SHARE_BYTES);
    expect(memory.requestNow(SHARE_BYTES, 2 * SHARE_BYTES)!.bytes).toBe(2 * SHARE_BYTES);
  });

  it('comes to a tenant with new work before a backlog of a thousand others has had its turn', async () => {
    const memory = new JobMemory(2 * SHARE_BYTES);
    const held = new Waiter().ask(memory, SHARE_BYTES);
    const backlog = Array.from({ length: 1_000 }, () => new Waiter().ask(memory, SHARE_BYTES));
    const fresh = new Waiter(0).ask(memory, SHARE_BYTES);
    held.grant!.release();
    for (let served = 0; fresh.grant === undefined; served++) {
      await turn();
      expect(served).toBeLessThan(4);
      for (const { grant } of backlog) grant?.release();
    }
  });

  it('is not granted to a waiter that cancelled or changed its wish meanwhile', async () => {
    const memory = new JobMemory(8 * SHARE_BYTES);
    const held = new Waiter().ask(memory, 4 * SHARE_BYTES);
    const [gone, changed] = [new Waiter(), new Waiter()];
    for (const waiter of [gone, changed]) waiter.ask(memory, 4 * SHARE_BYTES);
    memory.cancel(gone);
    changed.ask(memory, SHARE_BYTES);
    expect(changed.grant).toBeDefined();
    held.grant!.release();
    await turn();
    expect(gone.grant).toBeUndefined();
    expect(memory.used).toBe(SHARE_BYTES);
  });

  it('is released once', () => {
    const grant = new JobMemory(8 * SHARE_BYTES).requestNow(SHARE_BYTES, SHARE_BYTES)!;
    grant.shrinkTo(10);
    grant.release(4);
    expect(() => grant.release(7)).toThrow('7 bytes');
    grant.release();
    expect(grant.bytes).toBe(0);
  });
});
