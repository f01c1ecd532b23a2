import { newDurableJobId, newJobId } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { RedisJobStates } from './job-states.ts';

/** @param record what Redis keeps of the job. @param sync what the broker said of its tenant */
function statesOf(record: object | null, sync: string | null): RedisJobStates {
  const hget = async (key: string) => {
    if (key.endsWith(':meta')) return sync;
    return record === null ? null : JSON.stringify(record);
  };
  return new RedisJobStates({ hget } as unknown as Redis, 'default');
}

const [usual, durable] = [newJobId(), newDurableJobId()];

it.each([
  ['had it', usual, { replicatedAt: 1_234 }, '1', 1_234],
  ['was waited for in vain', usual, { replicatedAt: 0 }, '1', 0],
  ['was not waited for', usual, {}, '1', null],
  ['may have been waited for: the record is gone, and the tenant waits', usual, null, '1', 0],
  ['may have been waited for: the record is gone, and the job asked for it', durable, null, '0', 0],
  ['was not waited for: the record is gone, and the tenant does not wait', usual, null, '0', null],
  ['was not waited for: the record is gone, and no broker knows replicas', usual, null, null, null],
])('says that the replica %s', async (_, id, record, sync, expected) => {
  expect(await statesOf(record, sync).replicatedAt({ tenant: 'acme', id })).toBe(expected);
});

it('says nothing where Redis does not answer', async () => {
  const hget = () => Promise.reject(new Error('away'));
  const states = new RedisJobStates({ hget } as unknown as Redis, 'default');
  expect(await states.isSync('acme')).toBeUndefined();
  expect(await states.replicatedAt({ tenant: 'acme', id: usual })).toBeUndefined();
});
