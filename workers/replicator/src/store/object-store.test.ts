import { startS3, type TestS3, temporaryDirectory } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { assertObeysConditions } from './obeys-conditions.ts';
import { openStore } from './open-store.ts';
import type { OpenStore } from './store-watch.ts';

/* What both stores must do. */

describe.each(['s3', 'file'] as const)('%s', kind => {
  let store: OpenStore;
  let end: () => Promise<void>;

  beforeAll(async () => {
    if (kind === 's3') {
      const s3: TestS3 = await startS3();
      store = await openStore(s3.url, s3.env);
      end = s3.stop;
    } else {
      const directory = await temporaryDirectory('store');
      store = await openStore(`file://${directory.path}`);
      end = directory.remove;
    }
  });
  afterAll(async () => {
    await store.close();
    await end();
  });

  const stored = async (key: string, body: string) => {
    const put = await store.put(key, Buffer.from(body));
    if (put.kind !== 'stored') throw new Error('not stored');
    return put.etag;
  };
  const textOf = async (key: string) => (await store.get(key))?.body.toString();
  const keysOf = async (prefix: string, after?: string) => {
    const keys: string[] = [];
    for await (const { key } of store.list(prefix, { after })) keys.push(key);
    return keys;
  };

  test('stores an object and reads it, again with the same etag', async () => {
    const etag = await stored('plain/one.json', 'one');
    expect(await store.get('plain/one.json')).toEqual({ body: Buffer.from('one'), etag, size: 3 });
    await stored('plain/one.json', 'two');
    expect(await textOf('plain/one.json')).toBe('two');
    expect(await store.get('plain/none')).toBeUndefined();
    await stored('plain/empty', '');
    expect((await store.get('plain/empty'))?.size).toBe(0);
  });

  test('reads parts of an object', async () => {
    const etag = await stored('ranges', '0123456789');
    const part = async (range: Parameters<typeof store.get>[1]) => {
      const found = await store.get('ranges', range);
      return [found?.body.toString(), found?.size];
    };
    expect(await part({ range: { from: 2, length: 3 } })).toEqual(['234', 10]);
    expect(await part({ range: { from: 8, length: 100 } })).toEqual(['89', 10]);
    expect(await part({ range: { last: 4 } })).toEqual(['6789', 10]);
    expect(await part({ range: { last: 100 } })).toEqual(['0123456789', 10]);
    expect(await part({ range: { from: 10, length: 1 } })).toEqual(['', 10]);
    expect((await store.get('ranges', { range: { last: 1 } }))?.etag).toBe(etag);
    await expect(store.get('ranges', { range: { from: 0, length: 0 } })).rejects.toThrow(TypeError);
  });

  test('obeys conditions', async () => {
    const put = (body: string, condition: { kind: 'new' } | { kind: 'etag'; etag: string }) =>
      store.put('cas.json', Buffer.from(body), { condition });
    expect((await put('0', { kind: 'etag', etag: '"none"' })).kind).toBe('exists');
    const first = await put('1', { kind: 'new' });
    expect((await put('2', { kind: 'new' })).kind).toBe('exists');
    if (first.kind !== 'stored') throw new Error('not stored');
    const second = await put('3', { kind: 'etag', etag: first.etag });
    expect(second.kind).toBe('stored');
    expect((await put('4', { kind: 'etag', etag: first.etag })).kind).toBe('exists');
    expect(await textOf('cas.json')).toBe('3');
    // Without a condition it is replaced, and what was read before is old.
    await stored('cas.json', '5');
    expect(await textOf('cas.json')).toBe('5');
    expect(second.kind === 'stored' && (await put('6', { kind: 'etag', etag: second.etag })).kind).toBe(
      'exists',
    );
    await store.delete(['cas.json']);
    expect((await put('7', { kind: 'new' })).kind).toBe('stored');
    await assertObeysConditions(store);
    expect(await keysOf('probe')).toEqual([]);
  });

  test('lets one of many that change an object at the same time win', async () => {
    const etag = await stored('race.json', '0');
    for (let round = 0, current = etag; round < 12; round++) {
      const puts = await Promise.all(
        Array.from({ length: 8 }, async (_, writer) => ({
          body: `${round} ${writer}`,
          put: await store.put('race.json', Buffer.from(`${round} ${writer}`), {
            condition: { kind: 'etag', etag: current },
          }),
        })),
      );
      const winners = puts.filter(({ put }) => put.kind === 'stored');
      expect(winners).toHaveLength(1);
      expect(await textOf('race.json')).toBe(winners[0]!.body);
      current = (await store.get('race.json'))!.etag;
    }
    const news = await Promise.all(
      Array.from({ length: 8 }, () =>
        store.put('race-new', Buffer.from('x'), { condition: { kind: 'new' } }),
      ),
    );
    expect(news.filter(({ kind }) => kind === 'stored')).toHaveLength(1);
  });

  test('lists more than a page in the order of the keys, and deletes more than a page', async () => {
    const keys = Array.from({ length: 2_005 }, (_, index) => `many/${String(index).padStart(5, '0')}`);
    for (let from = 0; from < keys.length; from += 50) {
      await Promise.all(keys.slice(from, from + 50).map(key => store.put(key, Buffer.from('x'))));
    }
    expect(await keysOf('many/')).toEqual(keys);
    expect(await keysOf('many/', keys[1_999])).toEqual(keys.slice(2_000));
    expect(await keysOf('many/0200')).toEqual(keys.slice(2_000));
    await store.delete(keys);
    expect(await keysOf('many/')).toEqual([]);
    await store.delete(['many/none']);
  }, 60_000);

  test('orders folders and files by the bytes of whole keys', async () => {
    const keys = ['order/a-b', 'order/a.b', 'order/a/b', 'order/a/b/c', 'order/a0', 'order/b/1'];
    // A directory cannot have a file and a folder of one name, so "order/a/b" is left out there.
    const possible = kind === 'file' ? keys.filter(key => key !== 'order/a/b') : keys;
    for (const key of possible) await stored(key, key);
    expect(await keysOf('order/')).toEqual(possible);
    for (const after of possible) {
      expect(await keysOf('order/', after)).toEqual(possible.filter(key => key > after));
    }
    expect(await keysOf('order/a')).toEqual(possible.filter(key => key.startsWith('order/a')));
  });

  test.each([
    '',
    '/a',
    'a/',
    'a//b',
    '../a',
    'a/../b',
    '.hidden',
    'A',
    'a b',
    'a%2fb',
    'a\0',
    'a'.repeat(600),
  ])('refuses the key %j', async key => {
    await expect(store.get(key)).rejects.toThrow(TypeError);
    await expect(store.put(key, Buffer.from('x'))).rejects.toThrow(TypeError);
    await expect(store.delete([key])).rejects.toThrow(TypeError);
  });

  test('counts requests and bytes', async () => {
    const before = store.status();
    await stored('counted', '12345');
    await store.get('counted');
    await store.delete(['counted']);
    await keysOf('counted');
    const after = store.status();
    expect(after).toMatchObject({ address: store.address, ok: true });
    for (const kind of ['get', 'put', 'delete', 'list'] as const) {
      expect(after.requests[kind] - before.requests[kind]).toBe(1);
    }
    expect(after.bytesOut - before.bytesOut).toBeGreaterThanOrEqual(5);
    expect(after.bytesIn - before.bytesIn).toBeGreaterThanOrEqual(5);
  });

  test('ends a call with the reason of its signal', async () => {
    const controller = new AbortController();
    controller.abort(new Error('stop'));
    await expect(store.get('x', { signal: controller.signal })).rejects.toThrow('stop');
  });
});
