import { randomBytes } from 'node:crypto';
import { OnewriterError } from '@onewriter/protocol';
import type { CallOptions, ObjectStore, PutCondition } from './object-store.ts';

/**
 * Proves that a store obeys conditions, which is what keeps two leaders apart: one that ignores them answers 200 to everything.
 * @throws OnewriterError REPLICA_REFUSED where it does not; REPLICA_UNAVAILABLE
 */
export async function assertObeysConditions(store: ObjectStore, options: CallOptions = {}): Promise<void> {
  const key = `probe-${randomBytes(12).toString('hex')}`;
  const obeys = await tryConditions(store, key, options);
  await store.delete([key], options);
  if (obeys) return;
  throw new OnewriterError(
    'REPLICA_REFUSED',
    `${store.address} ignores If-None-Match or If-Match: two brokers could overwrite each other there. Use a store that obeys them.`,
  );
}

async function tryConditions(store: ObjectStore, key: string, options: CallOptions): Promise<boolean> {
  let body = Buffer.alloc(0);
  const put = (condition: PutCondition) => {
    body = randomBytes(16);
    return store.put(key, body, { ...options, condition });
  };
  const first = await put({ kind: 'new' });
  // Done, but its answer lost, a PUT answers 'exists', too: then the object is the one that was sent.
  const etag = first.kind === 'stored' ? first.etag : await etagOfOwn(store, key, body, options);
  if (etag === undefined || (await put({ kind: 'new' })).kind !== 'exists') return false;
  const second = await put({ kind: 'etag', etag });
  if (second.kind === 'exists' && (await etagOfOwn(store, key, body, options)) === undefined) return false;
  return (await put({ kind: 'etag', etag })).kind === 'exists';
}

/** The etag of the object where it is `body`. */
async function etagOfOwn(
  store: ObjectStore,
  key: string,
  body: Buffer,
  options: CallOptions,
): Promise<string | undefined> {
  const found = await store.get(key, options);
  return found?.body.equals(body) ? found.etag : undefined;
}
