import { deflateRawSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { ChainState } from '../format/chain-state.ts';
import { encodeCatalog, readCatalog } from './catalog.ts';

const KEY = 'catalogs/a.cat';

it('reads what it was made of, deleted tenants too', async () => {
  const store = new MemoryStore();
  const chain = new ChainState(
    [1, 2].map(number => ({
      pack: { level: 3, number } as const,
      entry: testEntry({ kind: number === 1 ? 'full' : 'pages', min: number, max: number }),
    })),
  );
  const gone = new ChainState([], testEntry({ tenant: 'gone', kind: 'deleted', min: 4, max: 4 }));
  const tenants = new Map([
    ['acme', chain],
    ['gone', gone],
  ]);
  await store.put(KEY, await encodeCatalog({ to: 8_192, term: 3, atMs: 5, tenants }));
  expect(await readCatalog(store, KEY)).toEqual({ to: 8_192, term: 3, atMs: 5, tenants });
  expect(await readCatalog(store, 'catalogs/b.cat')).toBeUndefined();
});

it.each([
  ['a newer version', deflateRawSync('{"v":2}\n{}\n')],
  ['one without a line', deflateRawSync('')],
  ['a line that is cut', deflateRawSync('{"v":1,"to":1}\n{"places":[')],
  ['other bytes', Buffer.from('no catalogue')],
])('refuses %s', async (_, body) => {
  const store = new MemoryStore();
  await store.put(KEY, body);
  await expect(readCatalog(store, KEY)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});
