import { chmod, mkdir, readdir, readFile, rename, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from '@onewriter/testkit';
import { expect, onTestFinished, test } from 'vitest';
import { openStore } from '../open-store.ts';
import { Directory } from './directory.ts';
import { changeVersion, newestVersion } from './versions.ts';

async function open() {
  const directory = await temporaryDirectory('store');
  onTestFinished(directory.remove);
  const root = join(directory.path, 'replica');
  await mkdir(root);
  return { root, store: await openStore(`file://${root}`) };
}

test('does not make the directory', async () => {
  const { root } = await open();
  await expect(openStore(`file://${root}/none`)).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
    message: expect.stringContaining('mkdir -p'),
  });
});

test('does not write, and does not answer "there is none", where its disk is no longer mounted', async () => {
  const { root, store } = await open();
  await store.put('a', Buffer.from('x'));
  await rename(root, `${root}-unmounted`);
  await mkdir(root);
  for (const call of [
    store.put('b', Buffer.from('x'), { timeoutMs: 100 }),
    store.get('a', { timeoutMs: 100 }),
    store.delete(['a'], { timeoutMs: 100 }),
  ]) {
    await expect(call).rejects.toMatchObject({
      code: 'REPLICA_UNAVAILABLE',
      message: expect.stringContaining('mounted'),
    });
  }
  expect(await readdir(root)).toEqual([]);
});

test('removes what a process that was killed left, and nothing that may be in use', async () => {
  const { root } = await open();
  const drafts = join(root, '.drafts');
  for (const name of ['lost', 'used']) await writeFile(join(drafts, name), 'x');
  const longAgo = Date.now() / 1_000 - 25 * 3_600;
  await utimes(join(drafts, 'lost'), longAgo, longAgo);
  await openStore(`file://${root}`);
  expect(await readdir(drafts)).toEqual(['used']);
});

test('leaves no draft and no empty folder behind', async () => {
  const { root, store } = await open();
  await store.put('snapshots/acme/1-x/0001.snap', Buffer.from('x'), { condition: { kind: 'new' } });
  await store.put('snapshots/acme/1-x/0001.snap', Buffer.from('y'), { condition: { kind: 'new' } });
  expect(await readdir(join(root, '.drafts'))).toEqual([]);
  await store.delete(['snapshots/acme/1-x/0001.snap']);
  expect(await readdir(root)).toEqual(['.drafts']);
});

test('keeps the newest state under its plain name, and few older ones', async () => {
  const { root, store } = await open();
  let put = await store.put('head.json', Buffer.from('0'), { condition: { kind: 'new' } });
  for (let state = 1; state <= 20; state++) {
    if (put.kind !== 'stored') throw new Error('not stored');
    const condition = { kind: 'etag', etag: put.etag } as const;
    put = await store.put('head.json', Buffer.from(String(state)), { condition });
  }
  expect(await readFile(join(root, 'head.json'), 'utf8')).toBe('20');
  expect((await readdir(join(root, '.versions/head.json'))).length).toBeLessThanOrEqual(9);
});

test('removes former states, and leaves the newest under both names', async () => {
  const { root, store } = await open();
  await store.put('keys/acme.json', Buffer.from('former'));
  await store.removeFormer!('keys/acme.json');
  const { etag } = (await store.get('keys/acme.json'))!;
  await store.put('keys/acme.json', Buffer.from('newest'), { condition: { kind: 'etag', etag } });
  const { etag: next } = (await store.get('keys/acme.json'))!;
  await store.put('keys/acme.json', Buffer.from('erased'), { condition: { kind: 'etag', etag: next } });
  // A process was killed before it had replaced the plain file.
  await unlink(join(root, 'keys/acme.json'));
  await writeFile(join(root, 'keys/acme.json'), 'newest');
  await store.removeFormer!('keys/acme.json');
  expect((await store.get('keys/acme.json'))!.body.toString()).toBe('erased');
  expect(await readFile(join(root, 'keys/acme.json'), 'utf8')).toBe('erased');
  expect(await readdir(join(root, '.versions/keys/acme.json'))).toHaveLength(1);
});

test('does not let one win that was stopped while others changed the object many times', async () => {
  const { root, store } = await open();
  const put = await store.put('leader.json', Buffer.from('0'), { condition: { kind: 'new' } });
  if (put.kind !== 'stored') throw new Error('not stored');
  const directory = await Directory.open(root);
  const draft = join(root, '.drafts/late');
  await writeFile(draft, 'late');
  // It stops between the look at the present state and the link.
  const stopped = Object.assign(Object.create(directory) as Directory, {
    linkNew: async (from: string, name: string) => {
      for (let state = 1; state <= 20; state++) {
        const { etag } = (await store.get('leader.json'))!;
        await store.put('leader.json', Buffer.from(String(state)), { condition: { kind: 'etag', etag } });
      }
      return directory.linkNew(from, name);
    },
    path: (name: string) => directory.path(name),
  });
  expect(await changeVersion(stopped, 'leader.json', put.etag, draft)).toBeUndefined();
  expect((await newestVersion(directory, 'leader.json'))?.number).toBe(20);
  expect((await store.get('leader.json'))?.body.toString()).toBe('20');
});

test('says which right is missing', async () => {
  const { root, store } = await open();
  if (process.getuid?.() === 0) return; // root may do everything
  await chmod(root, 0o500);
  onTestFinished(() => chmod(root, 0o700));
  await expect(store.put('new/a', Buffer.from('x'))).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});
