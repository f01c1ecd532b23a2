import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import { packKey } from '../format/entry.ts';
import { encodePack } from '../format/pack.ts';
import { type openReplica, type ReplicaAccess, withReplicas } from '../jobs/replica-access.ts';
import { eraseHistory } from './erase-history.ts';
import { rewrapKeys } from './rewrap-keys.ts';

const PLACE = { tenant: 'acme', kind: 'full', min: 1, max: 1 } as const;
const BODY = Buffer.from('pages');
const [FORMER, NEWEST] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')] as const;

/** A store and its copy, in folders. */
function makeStores(keys: 'one' | 'tenant', masterKeys: readonly string[] = [FORMER]) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-keys-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const accesses = ['first', 'copy'].map((name): ReplicaAccess => {
    mkdirSync(join(folder, name));
    return { url: `file://${join(folder, name)}`, keys, masterKeys };
  });
  return { folder, accesses };
}

async function ship(
  { store }: Awaited<ReturnType<typeof openReplica>>,
  number: number,
  kind: 'full' | 'deleted',
) {
  const { bytes } = encodePack({ level: 0, number, term: 1, writtenAtMs: 0 }, [
    { entry: testEntry({ ...PLACE, kind }) },
  ]);
  await store.put(packKey({ level: 0, number }), bytes);
}

/** acme has a body in both stores, sealed with its own key. */
function seal(accesses: readonly ReplicaAccess[]) {
  return withReplicas(accesses, async ([first, copy]) => {
    const sealed = await first!.keys.seal(PLACE, BODY);
    // Another state of its key, which a folder keeps.
    await first!.keys.rewrap('acme');
    await copy!.store.put('keys/acme.json', (await first!.store.get('keys/acme.json'))!.body);
    await ship(first!, 1, 'full');
    return sealed;
  });
}

test('makes the history of a deleted tenant unreadable in all stores, and leaves none of its keys', async () => {
  const { folder, accesses } = makeStores('tenant');
  const { key, body } = await seal(accesses);
  await seal(accesses.map(access => ({ ...access, masterKeys: [NEWEST, FORMER] })));
  const erase = () => eraseHistory(accesses, 'acme');
  await expect(erase()).rejects.toMatchObject({ code: 'TENANT_BUSY' });
  await expect(eraseHistory(accesses, 'other')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
  await withReplicas(accesses, ([first]) => ship(first!, 2, 'deleted'));
  expect(await erase()).toMatchObject({ tenant: 'acme', stores: [expect.any(String), expect.any(String)] });
  // Repeated, such as where a store was away.
  expect((await erase()).stores).toHaveLength(2);
  await withReplicas(accesses, async replicas => {
    for (const { keys } of replicas)
      await expect(keys.open(PLACE, key, body)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  });
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(each => each.isFile());
  const withKeys = files.filter(each => readFileSync(join(each.parentPath, each.name)).includes('wrapped'));
  expect(withKeys.map(({ name }) => name)).toEqual([]);
});

test('keeps the key of a tenant that a branch without pages of its own began as', async () => {
  const { accesses } = makeStores('tenant');
  await seal(accesses);
  await withReplicas(accesses, async ([first]) => {
    await ship(first!, 2, 'deleted');
    const base = testEntry({ ...PLACE, tenant: 'branch', kind: 'base', base: { tenant: 'acme', pos: 1 } });
    const { bytes } = encodePack({ level: 0, number: 3, term: 1, writtenAtMs: 0 }, [{ entry: base }]);
    await first!.store.put(packKey({ level: 0, number: 3 }), bytes);
  });
  await expect(eraseHistory(accesses, 'acme')).rejects.toMatchObject({
    ...{ code: 'TENANT_BUSY', details: { branch: 'branch' } },
  });
});

test('says what can be done where tenants have no keys of their own', async () => {
  await expect(async () => eraseHistory(makeStores('one').accesses, 'acme')).rejects.toThrow(
    'ONEWRITER_REPLICA_RETENTION',
  );
});

test('puts the keys of all tenants under the newest master key, in all stores, and only the rest when run again', async () => {
  const { accesses } = makeStores('tenant');
  const { key, body } = await seal(accesses);
  const both = accesses.map(access => ({ ...access, masterKeys: [NEWEST, FORMER] }));
  const progress: number[][] = [];
  const onProgress = (done: number, total: number) => progress.push([done, total]);
  expect(await rewrapKeys(both, { onProgress })).toEqual({ rewrapped: 2, present: 0, failed: [] });
  expect(progress.at(-1)).toEqual([2, 2]);
  expect(await rewrapKeys(both)).toEqual({ rewrapped: 0, present: 2, failed: [] });
  await withReplicas(
    accesses.map(access => ({ ...access, masterKeys: [NEWEST] })),
    async replicas => {
      for (const { keys } of replicas) expect(await keys.open(PLACE, key, body)).toEqual(BODY);
    },
  );
  // The former key alone opens none of them.
  expect((await rewrapKeys(accesses)).failed).toMatchObject([{ tenant: 'acme' }, { tenant: 'acme' }]);
});
