import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { putPack as putTestPack } from '../../test-support/put-pack.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { readState } from '../chain/replica-state.ts';
import { packKey } from '../format/entry.ts';
import { encodePack } from '../format/pack.ts';
import { PACKS_UNDER_WAY, putPack } from './pack-writer.ts';
import { LEADER_KEY, type LeadOptions, takeLead } from './take-lead.ts';

let store: MemoryStore;
let dataDir: string;

beforeEach(() => {
  store = new MemoryStore();
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-lead-'));
  const folder = dataDir;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

const { signal } = new AbortController();
let starts = 0;
const lead = (fields: Partial<LeadOptions> = {}) =>
  takeLead(store, {
    ...{ dataDir, dataDirId: 'directory-1', instance: `start-${++starts}`, nowMs: 5, signal },
    ...fields,
  });
const full = (tenant: string, pos: number) => testEntry({ tenant, kind: 'full', min: pos, max: pos });
const pages = (tenant: string, pos: number) => testEntry({ tenant, kind: 'pages', min: pos, max: pos });
const put = (number: number, term: number, ...entries: ReturnType<typeof full>[]) =>
  putTestPack(store, { level: 0, number }, entries, term);

test('the first start begins with term 1, and takes four numbers', async () => {
  expect(await lead()).toMatchObject({ term: 1, next: 1 + PACKS_UNDER_WAY });
  expect(JSON.parse(store.objects.get(LEADER_KEY)!.toString())).toMatchObject({
    term: 1,
    dataDirId: 'directory-1',
  });
  expect(await readState(store)).toMatchObject({ next: 5, term: 1 });
  expect(store.requests.list).toBe(0);
});

test('each start has a higher term, and knows what was stored', async () => {
  await lead();
  await put(5, 1, full('acme', 1));
  const { term, next, tenants } = await lead();
  expect([term, next]).toEqual([2, 10]);
  expect(tenants.get('acme')).toMatchObject({ pos: 1, isAlive: true });
});

test('what a former leader sends late finds no free number, and changes nothing', async () => {
  const old = await lead();
  await put(old.next, old.term, full('acme', 1));
  // The former leader has seen no reply of it, so four numbers are the most that it may still send.
  const late = [1, 2, 3, 4].map(index => old.next + index);
  const { next } = await lead();
  for (const number of late) {
    const { bytes } = encodePack({ level: 0, number, term: old.term, writtenAtMs: 1 }, [
      { entry: pages('acme', 2) },
    ]);
    await expect(putPack(store, number, bytes, old.term, signal)).rejects.toMatchObject({
      code: 'REPLICA_FENCED',
    });
  }
  const state = await readState(store);
  expect(state.next).toBe(next);
  expect(state.tenants.get('acme')).toMatchObject({ pos: 1 });
});

test('a pack that a former leader stored while the state was read counts; one behind it is void', async () => {
  const old = await lead();
  await put(old.next, old.term, full('acme', 1));
  const { get } = store;
  // Between the reading of the state and the first PUT of the new leader.
  store.put = async (key, body, options) => {
    if (key === packKey({ level: 0, number: old.next + 1 })) {
      store.put = MemoryStore.prototype.put;
      await put(old.next + 1, old.term, pages('acme', 2));
      await put(old.next + 3, old.term, pages('acme', 3));
    }
    return MemoryStore.prototype.put.call(store, key, body, options);
  };
  expect(get).toBe(MemoryStore.prototype.get);
  const { tenants, next } = await lead();
  expect(tenants.get('acme')).toMatchObject({ pos: 2 });
  expect(next).toBe(old.next + 6);
  expect((await readState(store)).tenants.get('acme')).toMatchObject({ pos: 2 });
});

test('a hole is closed: the pack behind it was confirmed to no caller', async () => {
  const old = await lead();
  await put(old.next + 1, old.term, full('acme', 1));
  const { tenants } = await lead();
  expect(tenants.get('acme')).toBeUndefined();
  const state = await readState(store);
  expect(state.tenants.get('acme')).toBeUndefined();
  expect(state.next).toBe(old.next + 4);
});

test('a lost reply is no other leader', async () => {
  let isLost = false;
  store.put = async (key, body, options) => {
    const done = await MemoryStore.prototype.put.call(store, key, body, options);
    // The store's client repeats a PUT without a reply, and finds it done.
    isLost = !isLost;
    return isLost && done.kind === 'stored' ? ({ kind: 'exists' } as const) : done;
  };
  expect(await lead()).toMatchObject({ term: 1, next: 5 });
});

test('of two that start at the same moment one leads, or both in turn', async () => {
  const all = await Promise.allSettled(Array.from({ length: 4 }, () => lead()));
  const terms = all
    .filter(({ status }) => status === 'fulfilled')
    .map(each => (each as { value: { term: number } }).value.term);
  expect(new Set(terms).size).toBe(terms.length);
  expect(terms).toContain(4);
  for (const each of all)
    if (each.status === 'rejected') expect(each.reason).toMatchObject({ code: 'REPLICA_FENCED' });
});

test('refuses the store of another data directory, unless this one was made from it', async () => {
  await lead();
  await expect(lead({ dataDirId: 'directory-2' })).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
    message: expect.stringContaining('restore --all --from memory:'),
  });
  mkdirSync(join(dataDir, 'replica'));
  const source = join(dataDir, 'replica', 'source.json');
  writeFileSync(source, '{"dataDirId":"directory-3"}');
  await expect(lead({ dataDirId: 'directory-2' })).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  writeFileSync(source, '{"dataDirId":"directory-1"}');
  expect(await lead({ dataDirId: 'directory-2' })).toMatchObject({ term: 2 });
  rmSync(source);
  await expect(lead({ dataDirId: 'directory-1' })).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});

test('refuses a damaged leader.json, and packs without one', async () => {
  await put(1, 1, full('acme', 1));
  await expect(lead()).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  store.objects.set(LEADER_KEY, Buffer.from('{'));
  await expect(lead()).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});
