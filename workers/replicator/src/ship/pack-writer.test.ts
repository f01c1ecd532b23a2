import { OnewriterError } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { packKey } from '../format/entry.ts';
import { encodePack } from '../format/pack.ts';
import { PACKS_UNDER_WAY, PackWriter, putPack } from './pack-writer.ts';

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore();
});

const segment = (pos: number) => ({ entry: testEntry({ kind: 'full', min: pos, max: pos }) });
const key = (number: number) => packKey({ level: 0, number });
const pack = (number: number, term: number) =>
  encodePack({ level: 0, number, term, writtenAtMs: 1 }, [segment(number)]).bytes;

function writer(term = 2) {
  const stored: string[] = [];
  const failed: unknown[] = [];
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const made = new PackWriter<string>({
    ...{ store, term, next: 5, signal: stop.signal, nowMs: () => 9 },
    onStored: contents => stored.push(contents),
    onFailed: error => failed.push(error),
  });
  return { made, stored, failed };
}

test('stores packs under the next numbers, and reports them in order', async () => {
  const gates = new Map<string, () => void>();
  const put = store.put.bind(store);
  store.put = async (name, body, options) => {
    await new Promise<void>(resolve => gates.set(name, resolve));
    return put(name, body, options);
  };
  const { made, stored } = writer();
  for (const contents of ['a', 'b', 'c', 'd']) {
    expect(made.isFree).toBe(true);
    made.write([segment(1)], contents);
  }
  expect(PACKS_UNDER_WAY).toBe(4);
  expect(made.isFree).toBe(false);
  expect(() => made.write([], 'e')).toThrow('Too many packs');
  gates.get(key(6))!();
  gates.get(key(7))!();
  await waitFor(() => store.objects.has(key(6)) && store.objects.has(key(7)));
  expect(stored).toEqual([]);
  expect(made.underWay).toHaveLength(4);
  gates.get(key(5))!();
  await waitFor(() => stored.length === 3);
  expect(stored).toEqual(['a', 'b', 'c']);
  gates.get(key(8))!();
  await waitFor(() => stored.length === 4);
  expect(made.newest).toBe(8);
});

test('tries again until the store answers, also where it refuses for a while', async () => {
  const put = store.put.bind(store);
  const errors = ['REPLICA_UNAVAILABLE', 'REPLICA_REFUSED'] as const;
  let tries = 0;
  store.put = async (name, body, options) => {
    const code = errors[tries++];
    if (code !== undefined) throw new OnewriterError(code, 'The test says no.');
    return put(name, body, options);
  };
  const { made, stored, failed } = writer();
  made.write([segment(1)], 'a');
  await waitFor(() => stored.length === 1);
  expect([tries, failed]).toEqual([3, []]);
});

test('its own pack under its number, whose reply was lost, is stored', async () => {
  await putPack(store, 5, pack(5, 2), 2, AbortSignal.timeout(5_000));
  await putPack(store, 5, pack(5, 2), 2, AbortSignal.timeout(5_000));
  expect(store.objects.get(key(5))).toEqual(pack(5, 2));
});

test('a pack of a higher term under its number fences it: nothing more is stored', async () => {
  store.objects.set(key(5), pack(5, 3));
  const { made, stored, failed } = writer();
  made.write([segment(1)], 'a');
  await waitFor(() => failed.length === 1);
  expect(failed[0]).toMatchObject({ code: 'REPLICA_FENCED' });
  expect([made.isFree, stored, store.objects.size]).toEqual([false, [], 1]);
});

test('a pack of a lower term, which a start excludes, ends it', async () => {
  store.objects.set(key(5), pack(5, 1));
  const { made, failed } = writer();
  made.write([segment(1)], 'a');
  await waitFor(() => failed.length === 1);
  expect(failed[0]).toMatchObject({ code: 'INTERNAL' });
});
