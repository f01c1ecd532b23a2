import { randomBytes } from 'node:crypto';
import { beforeEach, expect, it } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { Keyring, type KeyringOptions } from './keyring.ts';

const PLACE = { tenant: 'acme', kind: 'pages', min: 2, max: 4 } as const;
const FULL = { ...PLACE, kind: 'full' } as const;
const isDeleted = async () => {};
const BODY = Buffer.from('pages of a tenant');
const [MASTER, OTHER] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')] as const;
let store: MemoryStore;
const keyring = (options: Partial<KeyringOptions> = {}) =>
  new Keyring({ masterKeys: [MASTER], keys: 'one', store, ...options });

beforeEach(() => {
  store = new MemoryStore();
});

it('leaves bodies as they are without a key', async () => {
  const keys = keyring({ masterKeys: [] });
  const sealed = await keys.seal(PLACE, BODY);
  expect(sealed).toEqual({ body: BODY, key: '' });
  expect(await keys.open(PLACE, '', BODY)).toEqual(BODY);
});

it.each(['one', 'tenant'] as const)('encrypts for its place, with keys: %s', async keys => {
  const { body, key } = await keyring({ keys }).seal(PLACE, BODY);
  expect(body.includes(BODY)).toBe(false);
  const another = keyring({ keys });
  expect(await another.open(PLACE, key, body)).toEqual(BODY);
  await expect(another.open({ ...PLACE, max: 5 }, key, body)).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
  });
  await expect(another.open({ ...PLACE, part: 1 }, key, body)).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
  });
  await expect(keyring({ keys, masterKeys: [OTHER] }).open(PLACE, key, body)).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
  });
});

it('knows which bodies it has the key to', async () => {
  const { key } = await keyring().seal(PLACE, BODY);
  const own = (await keyring({ keys: 'tenant' }).seal(PLACE, BODY)).key;
  const has = (keys: Keyring) => ['', key, own].map(id => keys.has(id));
  expect(has(keyring())).toEqual([true, true, true]);
  expect(has(keyring({ masterKeys: [OTHER, MASTER] }))).toEqual([true, true, true]);
  expect(has(keyring({ masterKeys: [OTHER] }))).toEqual([true, false, true]);
  expect(has(keyring({ masterKeys: [] }))).toEqual([true, false, false]);
});

it('reads under the former master key, and puts a tenant under the present one', async () => {
  const { body, key } = await keyring({ keys: 'tenant' }).seal(PLACE, BODY);
  const both = keyring({ keys: 'tenant', masterKeys: [OTHER, MASTER] });
  expect(await both.open(PLACE, key, body)).toEqual(BODY);
  expect(await both.rewrap('acme')).toBe(true);
  expect(await both.rewrap('acme')).toBe(false);
  expect(await keyring({ keys: 'tenant', masterKeys: [OTHER] }).open(PLACE, key, body)).toEqual(BODY);
});

it('makes one key for a tenant, also where several make it at the same moment', async () => {
  const sealed = await Promise.all(
    Array.from({ length: 5 }, () => keyring({ keys: 'tenant' }).seal(PLACE, BODY)),
  );
  expect(new Set(sealed.map(({ key }) => key)).size).toBe(1);
});

it('takes the key that another process makes between its own two reads', async () => {
  const get = store.get.bind(store);
  let made: Promise<{ readonly key: string }> | undefined;
  store.get = async key => {
    const found = await get(key);
    if (made === undefined) {
      made = keyring({ keys: 'tenant' }).seal(PLACE, BODY);
      await made;
    }
    return found;
  };
  const { key } = await keyring({ keys: 'tenant' }).seal(PLACE, BODY);
  expect(key).toBe((await made!).key);
  expect(JSON.parse(store.objects.get('keys/acme.json')!.toString()).keys).toHaveLength(1);
});

it('reads nothing of an erased tenant, and gives it another key', async () => {
  const keys = keyring({ keys: 'tenant' });
  const { body, key } = await keys.seal(PLACE, BODY);
  await keys.erase('acme', 5, isDeleted);
  await expect(keys.open(PLACE, key, body)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  // Nothing can be read on top of what was erased.
  await expect(keys.seal(PLACE, BODY)).rejects.toMatchObject({ details: { reason: 'key missing' } });
  const next = await keys.seal(FULL, BODY);
  expect(next.key).not.toBe(key);
  expect(await keyring({ keys: 'tenant' }).open(FULL, next.key, next.body)).toEqual(BODY);
  expect([await keys.hasStill('acme', key), await keys.hasStill('acme', next.key)]).toEqual([false, true]);
});

it('leaves a tenant its key that came while it was erased', async () => {
  const keys = keyring({ keys: 'tenant' });
  const { body, key } = await keys.seal(PLACE, BODY);
  let checks = 0;
  const comes = async () => {
    if (++checks === 2) throw new Error('it came');
  };
  await expect(keys.erase('acme', 5, comes)).rejects.toThrow('it came');
  expect(await keyring({ keys: 'tenant' }).open(PLACE, key, body)).toEqual(BODY);
});

it('changes nothing where a tenant got its first key before it could be erased', async () => {
  let full: Awaited<ReturnType<Keyring['seal']>> | undefined;
  const comes = async () => {
    if (full !== undefined) throw new Error('it came');
    full = await keyring({ keys: 'tenant' }).seal(FULL, BODY);
  };
  await expect(keyring({ keys: 'tenant' }).erase('acme', 5, comes)).rejects.toThrow('it came');
  expect(await keyring({ keys: 'tenant' }).open(FULL, full!.key, full!.body)).toEqual(BODY);
});

it('takes no key away that a tenant got while it was erased', async () => {
  const keys = keyring({ keys: 'tenant' });
  await keys.seal(PLACE, BODY);
  let full: Awaited<ReturnType<Keyring['seal']>> | undefined;
  const comes = async () => {
    if (store.objects.get('keys/acme.json')!.includes('wrapped')) return;
    full ??= await keyring({ keys: 'tenant' }).seal(FULL, BODY);
  };
  await keys.erase('acme', 5, comes);
  expect(await keyring({ keys: 'tenant' }).open(FULL, full!.key, full!.body)).toEqual(BODY);
});

it('refuses a master key of another length, and to erase under one key for all', async () => {
  expect(() => keyring({ masterKeys: ['c2hvcnQ='] })).toThrow('must have 32');
  await expect(keyring().erase('acme', 5, isDeleted)).rejects.toMatchObject({ code: 'MISCONFIGURED' });
});

it('takes keys that another keyring has read, and reads again what does not fit any more', async () => {
  const keys = keyring({ keys: 'tenant' });
  const first = await keys.seal(PLACE, BODY);
  await keys.seal(PLACE, BODY);
  const known = keys.known();
  expect(known).toMatchObject([{ tenant: 'acme' }]);
  const given = keyring({ keys: 'tenant', known });
  const { get } = store.requests;
  expect(await given.open(PLACE, first.key, first.body)).toEqual(BODY);
  expect(store.requests.get).toBe(get);
  // Erased by another process, and sealed again since.
  await keyring({ keys: 'tenant' }).erase('acme', 5, isDeleted);
  const next = await keyring({ keys: 'tenant' }).seal(FULL, BODY);
  expect(await given.open(FULL, next.key, next.body)).toEqual(BODY);
  expect((await given.seal(PLACE, BODY)).key).toBe(next.key);
  await expect(given.open(PLACE, first.key, first.body)).rejects.toMatchObject({
    details: { reason: 'key missing' },
  });
});

it('lists tenants with keys of their own, and knows which were erased', async () => {
  const keys = keyring({ keys: 'tenant' });
  for (const tenant of ['acme', 'bank']) await keys.seal({ ...PLACE, tenant }, BODY);
  await keys.erase('bank', 5, isDeleted);
  const tenants = [];
  for await (const tenant of keys.tenants()) tenants.push(tenant);
  expect(tenants).toEqual(['acme', 'bank']);
  expect([await keys.isErased('acme'), await keys.isErased('bank'), await keys.isErased('corp')]).toEqual([
    false,
    true,
    false,
  ]);
});

it('refuses a key that cannot be used, and seals a full segment with another, beside it', async () => {
  const first = await keyring({ keys: 'tenant' }).seal(PLACE, BODY);
  const other = keyring({ keys: 'tenant', masterKeys: [OTHER] });
  await expect(other.seal(PLACE, BODY)).rejects.toMatchObject({ details: { reason: 'key missing' } });
  await expect(other.seal(FULL, BODY, false)).rejects.toMatchObject({
    details: { reason: 'key missing' },
  });
  const full = await other.seal(FULL, BODY);
  expect((await other.seal(PLACE, BODY)).key).toBe(full.key);
  const both = keyring({ keys: 'tenant', masterKeys: [MASTER, OTHER] });
  expect(await both.open(PLACE, first.key, first.body)).toEqual(BODY);
  expect(await both.open(FULL, full.key, full.body)).toEqual(BODY);
});

it('takes a damaged object for a key that cannot be used', async () => {
  const { key, body } = await keyring({ keys: 'tenant' }).seal(PLACE, BODY);
  store.objects.set('keys/acme.json', Buffer.from('{"v":1,"tenant":"acme","ke'));
  const keys = keyring({ keys: 'tenant' });
  const refusal = { code: 'REPLICA_REFUSED', details: { reason: 'damaged key' } };
  await expect(keys.open(PLACE, key, body)).rejects.toMatchObject(refusal);
  await expect(keys.seal(PLACE, BODY)).rejects.toMatchObject(refusal);
  const full = await keys.seal(FULL, BODY);
  expect((await keys.seal(PLACE, BODY)).key).toBe(full.key);
});
