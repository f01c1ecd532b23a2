import type { Logger } from '@onewriter/runtime';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Parked } from './parked.ts';
import type { RedisLink } from './redis-link.ts';
import { TenantBackOff } from './tenant-back-off.ts';

const TIMEOUT_MS = 10_000;
const quiet = { warn() {} } as unknown as Logger;

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'performance'], now: 1_000_000 }));
afterEach(() => void vi.useRealTimers());

function createGround() {
  const hash = new Map<string, string>();
  const link = {
    redis: { hgetall: async () => Object.fromEntries(hash) },
    insist: <Result>(attempt: () => Promise<Result>) => attempt(),
    async call(command: string, _key: string, ...args: string[]) {
      if (command === 'HSET') hash.set(args[0]!, args[1]!);
      else for (const tenant of args) hash.delete(tenant);
    },
  } as unknown as RedisLink;
  const park = vi.fn();
  /** What a process knows that takes over. */
  const load = async () => {
    const backOff = new TenantBackOff(link, 'default', TIMEOUT_MS, { park } as unknown as Parked, quiet);
    await backOff.load();
    return backOff;
  };
  return { hash, park, load };
}

describe('TenantBackOff', () => {
  it('holds a tenant back from the second time on, twice as long each time, and no other', async () => {
    const { park, load } = createGround();
    const pauses: number[] = [];
    for (let times = 1; times <= 9; times++) {
      await (await load()).note('slow');
      const successor = await load();
      pauses.push(successor.leftMs('slow'));
      expect(successor.leftMs('other')).toBe(0);
      vi.advanceTimersByTime(successor.leftMs('slow'));
      expect(successor.leftMs('slow')).toBe(0);
    }
    expect(pauses).toEqual([0, 10, 20, 40, 80, 160, 320, 600, 600].map(seconds => seconds * 1_000));
    expect(park.mock.calls.map(([tenant, { code }]) => [tenant, code])).toEqual(
      Array(8).fill(['slow', 'STATEMENT_TIMEOUT']),
    );
  });

  it('forgets it after ten minutes without', async () => {
    const { hash, load } = createGround();
    for (let times = 1; times <= 3; times++) await (await load()).note('slow');
    vi.advanceTimersByTime(20_000 + 10 * 60_000 - 1);
    await load();
    expect(hash.size).toBe(1);
    vi.advanceTimersByTime(2);
    await load();
    expect(hash.size).toBe(0);
  });

  it('is held back by no wall clock for longer', async () => {
    const { load } = createGround();
    for (let times = 1; times <= 2; times++) await (await load()).note('slow');
    vi.setSystemTime(-400 * 86_400_000);
    const successor = await load();
    expect(successor.leftMs('slow')).toBe(TIMEOUT_MS);
    vi.setSystemTime(400 * 86_400_000);
    expect(successor.leftMs('slow')).toBe(TIMEOUT_MS);
    vi.advanceTimersByTime(TIMEOUT_MS);
    expect(successor.leftMs('slow')).toBe(0);
  });
});
