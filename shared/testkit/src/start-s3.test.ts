import { expect, onTestFinished, test } from 'vitest';
import { S3FaultPlan } from './s3/s3-faults.ts';
import { createObjects } from './s3/s3-objects.ts';
import { startS3 } from './start-s3.ts';
import { temporaryDirectory } from './temporary-directory.ts';

test('refuses who has no signature, and knows its faults and counts by HTTP', async () => {
  await using s3 = await startS3();
  const origin = `http://127.0.0.1:${s3.port}`;
  expect((await fetch(`${origin}/test-bucket/a`)).status).toBe(403);
  await fetch(`${origin}/-/faults`, { method: 'POST', body: '{"failNext":{"count":1,"status":507}}' });
  expect((await fetch(`${origin}/test-bucket/a`)).status).toBe(507);
  expect(await (await fetch(`${origin}/-/counts`)).json()).toEqual({ get: 2, put: 0, delete: 0, list: 0 });
});

test('keeps objects in a directory for the next server', async () => {
  const directory = await temporaryDirectory('s3');
  onTestFinished(directory.remove);
  const { etag } = createObjects(directory.path).set('a/b', Buffer.from('x'));
  const next = createObjects(directory.path);
  expect(next.get('a/b')).toMatchObject({ etag, size: 1 });
  expect(next.get('a/b')?.read().toString()).toBe('x');
  next.delete('a/b');
  expect(createObjects(directory.path).keys()).toEqual([]);
});

test('counts faults down, and only for the requests that they are for', () => {
  const plan = new S3FaultPlan();
  plan.set({ kinds: ['put'], keys: 'packs/', dropReplies: 1 });
  expect(plan.fateOf('get', 'packs/1').reply).toBe('whole');
  expect(plan.fateOf('put', 'head.json').reply).toBe('whole');
  expect(plan.fateOf('put', 'packs/1').reply).toBe('none');
  expect(plan.fateOf('put', 'packs/1').reply).toBe('whole');
  plan.set({ failRate: 0.5, seed: 3 });
  const drawn = Array.from({ length: 1_000 }, () => plan.fateOf('get', 'a').refuse);
  expect(drawn.filter(fate => fate === 503).length).toBeGreaterThan(400);
});
