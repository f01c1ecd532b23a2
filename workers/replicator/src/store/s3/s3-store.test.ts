import { startS3, startTcpProxy } from '@onewriter/testkit';
import { expect, onTestFinished, test } from 'vitest';
import { assertObeysConditions } from '../obeys-conditions.ts';
import { openStore } from '../open-store.ts';

async function open(env: Record<string, string> = {}) {
  const s3 = await startS3();
  const store = await openStore(s3.url, { ...s3.env, ...env });
  onTestFinished(async () => {
    await store.close();
    await s3.stop();
  });
  return { s3, store };
}
const BODY = Buffer.from('body');

test.each([500, 503, 429, 408])('repeats a call that is answered %i', async status => {
  const { s3, store } = await open();
  await s3.setFaults({ failNext: { count: 2, status } });
  expect((await store.put('a', BODY, { condition: { kind: 'new' } })).kind).toBe('stored');
  expect((await s3.counts()).put).toBe(3);
  expect(store.status()).toMatchObject({ ok: true, requests: { put: 3 } });
});

test.each([403, 400, 501, 301])('does not repeat a call that is answered %i', async status => {
  const { s3, store } = await open();
  await s3.setFaults({ failNext: { count: 1, status } });
  await expect(store.get('a')).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  expect((await s3.counts()).get).toBe(1);
});

test('answers "exists" where its own conditional PUT was done and the answer was lost', async () => {
  const { s3, store } = await open();
  await s3.setFaults({ dropReplies: 1 });
  expect(await store.put('a', BODY, { condition: { kind: 'new' } })).toEqual({ kind: 'exists' });
  expect((await store.get('a'))?.body).toEqual(BODY);
});

test('reads again what was cut off, and what the server closed while it was idle', async () => {
  const { s3, store } = await open();
  await store.put('a', BODY);
  await s3.setFaults({ truncateReplies: 1 });
  expect((await store.get('a'))?.body).toEqual(BODY);
  await s3.setFaults({});
  const proxy = await startTcpProxy(s3.port);
  onTestFinished(proxy.stop);
  const behind = await openStore(s3.url, {
    ...s3.env,
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${proxy.port}`,
  });
  await behind.get('a');
  proxy.cut();
  // The signature has the host and port of the proxy, as the client sends them.
  expect((await behind.get('a'))?.body).toEqual(BODY);
  await behind.close();
});

test('gives up at its deadline where the store is away or hangs, and notes since when', async () => {
  const { s3, store } = await open();
  for (const faults of [{ down: true }, { hangs: true }, { latencyMs: 5_000 }]) {
    await s3.setFaults(faults);
    const before = Date.now();
    await expect(store.put('a', BODY, { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'REPLICA_UNAVAILABLE',
      message: expect.stringContaining('PUT a'),
    });
    expect(Date.now() - before).toBeLessThan(2_000);
  }
  await s3.setFaults({ down: true });
  await expect(store.get('a', { timeoutMs: 400 })).rejects.toThrow(
    /^GET a failed after [2-9] attempts: ECONNRESET\.$/,
  );
  const { ok, failingSince } = store.status();
  expect(ok).toBe(false);
  expect(failingSince).toBeLessThan(Date.now());
  await s3.setFaults({});
  await store.put('a', BODY);
  expect(store.status().ok).toBe(true);
});

test('refuses a store that ignores conditions', async () => {
  const { s3, store } = await open();
  await assertObeysConditions(store);
  await s3.setFaults({ ignoresConditions: true });
  await expect(assertObeysConditions(store)).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
    message: expect.stringContaining('ignores If-None-Match'),
  });
  expect(await s3.keys()).toEqual([]);
});

test('proves conditions also where answers are lost', async () => {
  const { s3, store } = await open();
  await s3.setFaults({ dropRate: 0.4, seed: 7 });
  for (let round = 0; round < 5; round++) await assertObeysConditions(store);
});

test('says what is wrong with credentials and bucket', async () => {
  const wrongSecret = await open({ AWS_SECRET_ACCESS_KEY: 'other' });
  await expect(wrongSecret.store.get('a')).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
    message: expect.stringContaining('SignatureDoesNotMatch'),
  });
  const noBucket = await openStore('s3://other-bucket', wrongSecret.s3.env);
  onTestFinished(() => noBucket.close());
  await expect(noBucket.get('a')).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
    message: expect.stringContaining('NoSuchBucket'),
  });
});

test('passes over objects that are not its own', async () => {
  const { s3, store } = await open();
  s3.objects.set('replica/Read me & more.txt', BODY);
  s3.objects.set('other/key', BODY);
  await store.put('a', BODY);
  const keys: string[] = [];
  for await (const { key, size } of store.list('')) keys.push(`${key} ${size}`);
  expect(keys).toEqual(['a 4']);
});
