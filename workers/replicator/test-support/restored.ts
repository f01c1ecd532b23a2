import { readState } from '../src/chain/replica-state.ts';
import { packKey } from '../src/format/entry.ts';
import { Keyring } from '../src/format/keyring.ts';
import { assertBody } from '../src/format/pack.ts';
import { decodeBody } from '../src/format/segment-body.ts';
import type { ObjectStore } from '../src/store/object-store.ts';

/** The newest file of a tenant, as its segments make it; undefined where it has none. */
export async function restored(
  store: ObjectStore,
  tenant: string,
  keys = new Keyring({ masterKeys: [], keys: 'one', store }),
): Promise<Buffer | undefined> {
  const chain = (await readState(store)).tenants.get(tenant);
  if (chain?.isAlive !== true) return undefined;
  const pages: Buffer[] = [];
  for (const { pack, entry } of chain.places) {
    const { offset, length, pageSize } = entry;
    const found = await store.get(packKey(pack), { range: { from: offset, length } });
    assertBody(entry, found!.body);
    const { numbers, pages: bytes } = await decodeBody(await keys.open(entry, entry.key, found!.body));
    for (const [index, number] of numbers.entries()) {
      pages[number - 1] = Buffer.from(bytes.subarray(index * pageSize, (index + 1) * pageSize));
    }
    pages.length = entry.pages;
  }
  return Buffer.concat(pages);
}
