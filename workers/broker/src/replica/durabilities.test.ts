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
  await new Durabilities(link, 'default', state, log).onNotified('acme');
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
  const durabilities = new Durabilities(link, 'default', state, {} as never);
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
