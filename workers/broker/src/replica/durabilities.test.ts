import { groupKeys, SYNC_FIELD, tenantQueue } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import type { RedisLink } from '../queue/redis-link.ts';
import { Durabilities } from './durabilities.ts';
import type { ReplicaMode } from './replica-state.ts';

/** What clients find noted of acme, where `chosen` is what a person chose for it, and `normal` what the settings say. */
async function notedOf(chosen: string | null, normal: ReplicaMode): Promise<unknown> {
  const { prefix, name } = tenantQueue('default', 'acme');
  let noted: unknown;
  const link = {
    retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
    call: async (command: string, key: string, field: string, value: unknown) => {
      if (command === 'HGET' && key === groupKeys('default').durabilities) return chosen;
      expect([command, key, field]).toEqual(['HSET', `${prefix}:${name}:meta`, SYNC_FIELD]);
      noted = value;
      return 1;
    },
  } as unknown as RedisLink;
  let mode: ReplicaMode | undefined;
  const state = {
    setMode: (_: string, next: ReplicaMode | undefined) => {
      mode = next;
    },
    modeOf: () => mode ?? normal,
  };
  const log = { info: () => {}, warn: () => {} } as never;
  await new Durabilities({
    link,
    group: 'default',
    state,
    shipping: undefined,
    isRestored: false,
    log,
  }).onNotified('acme');
  return noted;
}

it('reads what it has not heard of', async () => {
  let chosen: Record<string, string> = { acme: 'sync', bank: 'off' };
  const link = {
    retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
    call: async () => ['0', Object.entries(chosen).flat()],
  } as unknown as RedisLink;
  const modes = new Map<string, ReplicaMode | undefined>();
  const state = {
    setMode: (tenant: string, mode: ReplicaMode | undefined) => void modes.set(tenant, mode),
    modeOf: () => 'async' as const,
  };
  const log = {} as never;
  const durabilities = new Durabilities({
    link,
    group: 'default',
    state,
    shipping: undefined,
    isRestored: false,
    log,
  });
  await durabilities.load();
  chosen = { acme: 'off', corp: 'sync' };
  await durabilities.load();
  expect(Object.fromEntries(modes)).toEqual({ acme: 'off', bank: 'off', corp: 'sync' });
});

it('notes for clients whether they wait, also where a tenant has the durability of the settings again', async () => {
  expect(await notedOf('sync', 'async')).toBe(1);
  expect(await notedOf('async', 'sync')).toBe(0);
  expect(await notedOf(null, 'sync')).toBe(1);
  expect(await notedOf(null, 'async')).toBe(0);
});

/** A Redis with one hash and the meta hashes of queues. */
function fakeRedis(chosen: Record<string, string>) {
  const fields = new Map(Object.entries(chosen));
  const call = async (command: string, key: string, field: string, value?: unknown) => {
    if (key !== groupKeys('default').durabilities) return 1;
    if (command === 'HSCAN') return ['0', [...fields].flat()];
    if (command === 'HEXISTS') return fields.has(field) ? 1 : 0;
    if (command === 'HGET') return fields.get(field) ?? null;
    if (command === 'HSET' || !fields.has(field)) fields.set(field, String(value));
    return 1;
  };
  const retryUntilDone = <Result>(attempt: () => Promise<Result>) => attempt();
  return { fields, link: { call, retryUntilDone } as unknown as RedisLink };
}

it('takes those of the store into a Redis that is new, and gives the store what Redis has from then on', async () => {
  const { fields, link } = fakeRedis({ bank: 'off' });
  const stored: unknown[] = [];
  const modes = new Map<string, ReplicaMode | undefined>();
  const state = {
    setMode: (tenant: string, mode: ReplicaMode | undefined) => void modes.set(tenant, mode),
    modeOf: (tenant: string) => modes.get(tenant) ?? ('async' as const),
  };
  const shipping = { storeDurabilities: (tenants: unknown) => void stored.push(tenants) };
  const log = { info() {}, warn() {} } as never;
  const options = { link, group: 'default', state, shipping, isRestored: false, log };
  const first = new Durabilities(options);
  await first.load();
  await first.onNotified('bank');
  // What the store has is not known yet, and must not be lost.
  expect(stored).toEqual([]);
  await first.adopt({ acme: 'sync', bank: 'sync' });
  expect([modes.get('acme'), modes.get('bank')]).toEqual(['sync', 'off']);
  expect(stored).toEqual([{ acme: 'sync', bank: 'off' }]);
  fields.delete('acme');
  await first.onNotified('acme');
  expect(stored.at(-1)).toEqual({ bank: 'off' });
  // Redis has it all: what the store has in addition was chosen before.
  await new Durabilities(options).adopt({ acme: 'sync' });
  expect([stored.at(-1), fields.has('acme')]).toEqual([{ bank: 'off' }, false]);
});

it('does not know them on a new machine with a new Redis until the store was read', async () => {
  const modes = new Map<string, ReplicaMode | undefined>();
  const state = {
    setMode: (tenant: string, mode: ReplicaMode | undefined) => void modes.set(tenant, mode),
    modeOf: (tenant: string) => modes.get(tenant) ?? ('async' as const),
  };
  const shipping = { storeDurabilities: () => {} };
  const { fields, link } = fakeRedis({});
  const options = { link, group: 'default', state, shipping, isRestored: true, log: {} as never };
  const durabilities = new Durabilities(options);
  await durabilities.start();
  expect(durabilities.areKnown).toBe(false);
  const stored = Object.fromEntries(
    Array.from({ length: 1_200 }, (_, index) => [`t-${index}`, 'sync'] as const),
  );
  await durabilities.adopt(stored);
  expect([durabilities.areKnown, modes.size, fields.size]).toEqual([true, 1_200, 1_201]);
  // Redis has them, or there is no store that had them.
  for (const more of [
    {},
    { ...fakeRedis({}), isRestored: false },
    { ...fakeRedis({}), shipping: undefined },
  ]) {
    const later = new Durabilities({ ...options, ...more });
    await later.start();
    expect(later.areKnown).toBe(true);
  }
});

it('takes those of the store with a few round trips', async () => {
  let [waves, isUnderWay] = [0, false];
  const call = async (command: string) => {
    if (!isUnderWay) {
      isUnderWay = true;
      waves++;
      setImmediate(() => {
        isUnderWay = false;
      });
    }
    await new Promise(setImmediate);
    if (command === 'HSCAN') return ['0', []];
    return command === 'HGET' ? 'sync' : 0;
  };
  const link = { call, retryUntilDone: <R>(attempt: () => Promise<R>) => attempt() } as unknown as RedisLink;
  const state = { setMode: () => {}, modeOf: () => 'sync' as const };
  const options = { link, group: 'default', state, shipping: undefined, isRestored: true, log: {} as never };
  const stored = Object.fromEntries(
    Array.from({ length: 1_000 }, (_, index) => [`t-${index}`, 'sync'] as const),
  );
  await new Durabilities(options).adopt(stored);
  expect(waves).toBeLessThan(20);
});
