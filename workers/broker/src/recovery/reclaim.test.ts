import { groupKeys } from '@onewriter/protocol';
import { expect, it, vi } from 'vitest';
import type { RedisLink } from '../queue/redis-link.ts';
import { Reclaim } from './reclaim.ts';

const { open } = groupKeys('default');

/** Tenants in Redis, `t0` with the oldest work; every third has active jobs. */
function createRedis(tenants: number) {
  const names = Array.from({ length: tenants }, (_, index) => `t${index}`);
  const removed: string[] = [];
  const call = async (command: string, key: string, ...args: string[]): Promise<unknown> => {
    if (command === 'SSCAN') {
      const from = Number(args[0]);
      const to = from + 300;
      // A scan may return a name twice.
      return [to < tenants ? String(to) : '0', names.slice(Math.max(0, from - 10), to)];
    }
    if (command === 'ZMSCORE') return args.map(name => name.slice(1));
    if (command === 'LLEN') return Number(/tenant\.t(\d+):/.exec(key)![1]) % 3 === 0 ? 2 : 0;
    if (command === 'SREM' && key === open) return removed.push(...args);
    throw new Error(`What does ${command} do?`);
  };
  const link = {
    call,
    retryUntilDone: (attempt: () => Promise<unknown>) => attempt(),
  } as unknown as RedisLink;
  return { link, removed };
}

it('reclaims each tenant with active jobs once, the newest first, few at a time, and forgets the others', async () => {
  const { link, removed } = createRedis(2_000);
  const reclaimed: string[] = [];
  let underWay = 0;
  let most = 0;
  const reclaim = new Reclaim({
    link,
    group: 'default',
    reclaim: async tenant => {
      reclaimed.push(tenant);
      most = Math.max(most, ++underWay);
      await new Promise(setImmediate);
      underWay--;
    },
    untilRoom: async () => {},
    isOpen: tenant => tenant === 't1',
  });
  expect(await reclaim.run()).toBe(true);
  const expected = Array.from({ length: 667 }, (_, index) => `t${1_998 - 3 * index}`);
  expect(reclaimed).toEqual(expected);
  expect(most).toBe(32);
  expect(removed).toHaveLength(2_000 - 667 - 1);
  expect(removed).not.toContain('t1');
});

it('begins no more when there is no room, or it is stopped', async () => {
  const { link } = createRedis(2_000);
  const reclaimed: string[] = [];
  let makeRoom: () => void = () => {};
  const room = new Promise<void>(resolve => (makeRoom = resolve));
  const reclaim = new Reclaim({
    link,
    group: 'default',
    reclaim: async tenant => void reclaimed.push(tenant),
    untilRoom: () => (reclaimed.length < 10 ? Promise.resolve() : room),
    isOpen: () => false,
  });
  const running = reclaim.run();
  await vi.waitFor(() => expect(reclaimed.length).toBeGreaterThanOrEqual(10));
  expect(reclaimed.length).toBeLessThan(10 + 32);
  reclaim.stop();
  makeRoom();
  expect(await running).toBe(false);
  expect(reclaimed.length).toBeLessThan(10 + 2 * 32);
});
