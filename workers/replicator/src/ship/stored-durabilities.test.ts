import { OnewriterError } from '@onewriter/protocol';
import { expect, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { DURABILITIES_KEY, StoredDurabilities } from './stored-durabilities.ts';

function create(store: MemoryStore, term: number) {
  const errors: unknown[] = [];
  const { signal } = new AbortController();
  const stored = new StoredDurabilities({ store, term, signal, onError: error => errors.push(error) });
  return { stored, errors };
}

test('stores what is chosen when it changes, and reads it on another machine', async () => {
  const store = new MemoryStore();
  const { stored, errors } = create(store, 1);
  expect(await stored.read()).toEqual({});
  stored.write({});
  stored.write({ acme: 'sync' });
  stored.write({ bank: 'off', acme: 'sync' });
  await stored.settled();
  expect(await create(store, 2).stored.read()).toEqual({ acme: 'sync', bank: 'off' });
  const { put } = store.requests;
  stored.write({ acme: 'sync', bank: 'off' });
  await stored.settled();
  expect([store.requests.put, errors]).toEqual([put, []]);
});

test('leaves what a newer leader stored, and takes the place of what an older one did', async () => {
  const store = new MemoryStore();
  const older = create(store, 1).stored;
  const newer = create(store, 2).stored;
  older.write({ acme: 'off' });
  await older.settled();
  newer.write({ acme: 'sync' });
  await newer.settled();
  older.write({ acme: 'async' });
  await older.settled();
  expect(await create(store, 3).stored.read()).toEqual({ acme: 'sync' });
});

test('tries again where the store is away, and takes a damaged object for none', async () => {
  const store = new MemoryStore();
  store.objects.set(DURABILITIES_KEY, Buffer.from('{'));
  const { stored } = create(store, 1);
  expect(await stored.read()).toEqual({});
  let failures = 2;
  const put = store.put.bind(store);
  store.put = async (...call) => {
    if (failures-- > 0) throw new OnewriterError('REPLICA_UNAVAILABLE', 'away');
    return put(...call);
  };
  stored.write({ acme: 'sync' });
  await stored.settled();
  expect(await create(store, 2).stored.read()).toEqual({ acme: 'sync' });
});
