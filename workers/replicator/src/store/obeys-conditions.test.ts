import { expect, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { assertObeysConditions } from './obeys-conditions.ts';
import type { PutCondition } from './object-store.ts';

/** Ignores conditions of one kind. */
class Ignoring extends MemoryStore {
  readonly #kind: PutCondition['kind'];

  constructor(kind: PutCondition['kind']) {
    super();
    this.#kind = kind;
  }

  override put(
    key: string,
    body: Uint8Array,
    options: { readonly condition?: PutCondition | undefined } = {},
  ) {
    return super.put(key, body, options.condition?.kind === this.#kind ? {} : options);
  }
}

test.each(['new', 'etag'] as const)('refuses a store that ignores conditions of the kind %s', async kind => {
  const store = new Ignoring(kind);
  await expect(assertObeysConditions(store)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  expect(store.objects.size).toBe(0);
});

test('asks a store that obeys for four PUTs and one DELETE', async () => {
  const store = new MemoryStore();
  await assertObeysConditions(store);
  expect(store.requests).toEqual({ get: 0, put: 4, delete: 1, list: 0 });
});
