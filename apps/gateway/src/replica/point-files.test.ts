import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Owner } from '../security/shares.ts';
import { MAX_POINT_FILES, POINT_FILE_IDLE_MS, PointFiles, type PointFilesOptions } from './point-files.ts';

const FLEET: Owner = { names: ['token fleet'], isFleet: true };
const ofToken = (id: string): Owner => ({ names: [`token ${id}`], isFleet: false });
const READ_MS = 10_000;

/** Files whose restores end when the test says so, on a clock of its own. */
function world(options: Partial<PointFilesOptions> = {}) {
  const parent = mkdtempSync(join(tmpdir(), 'onewriter-points-'));
  let clock = 0;
  const staged: { path: string; signal: AbortSignal; end: (error?: Error) => void }[] = [];
  const forgotten: string[] = [];
  const open = { folders: 0, reads: 0 };
  const files = new PointFiles({
    stage: ({ path, signal }) =>
      new Promise((resolve, reject) => {
        const end = (error?: Error) => {
          if (error !== undefined) return reject(error);
          writeFileSync(path, 'a database');
          resolve({ commitSeq: 7, atMs: 1_000 });
        };
        staged.push({ path, signal, end });
        signal.addEventListener('abort', () => end(signal.reason));
      }),
    dbFile: 'tenant.db',
    fileOf: tenant => `${tenant}/tenant.db`,
    makeFolder: async () => {
      open.folders++;
      return mkdtempSync(join(parent, 'folder-'));
    },
    removeFolder: async path => {
      open.folders--;
      rmSync(path, { recursive: true });
    },
    openReads: () => {
      open.reads++;
      return {
        read: () => Promise.reject(new Error('not read here')),
        stream: () => Promise.reject(new Error('not read here')),
        forget: name => forgotten.push(name),
        close: async () => {
          open.reads--;
        },
      };
    },
    readTimeoutMs: READ_MS,
    log: { warn: () => {} },
    now: () => clock,
    ...options,
  });
  onTestFinished(async () => {
    await files.close();
    rmSync(parent, { recursive: true });
  });
  const use = (commitSeq: number, owner = FLEET, signal = new AbortController().signal) =>
    files.use({ tenant: 'acme', point: { kind: 'commitSeq', commitSeq }, owner, signal });
  /** The same, and its restore ends at once. */
  const restored = async (commitSeq: number, owner = FLEET) => {
    const before = staged.length;
    const used = use(commitSeq, owner);
    await vi.waitFor(() => expect(staged.length).toBe(before + 1));
    staged.at(-1)!.end();
    return used;
  };
  const pass = (ms: number) => {
    clock += ms;
  };
  return { files, staged, forgotten, open, use, restored, pass };
}

test('restores a point once for all who look at it, and opens its reads', async () => {
  const { staged, use, restored } = world();
  const file = await restored(5);
  expect(file).toMatchObject({ name: 'p1', commitSeq: 7, atMs: 1_000 });
  expect(staged[0]!.path).toMatch(/folder-\w+\/tenants\/p1\/tenant\.db$/);
  expect(await Promise.all([use(5), use(5)])).toEqual([file, file]);
  expect(staged).toHaveLength(1);
  const other = await restored(6);
  expect(other.name).not.toBe(file.name);
  expect(other.reads).toBe(file.reads);
});

test('restores the newest state each time: it is another one', async () => {
  const { files, staged } = world();
  const newest = { tenant: 'acme', point: { kind: 'newest' }, owner: FLEET } as const;
  for (const count of [1, 2]) {
    const used = files.use({ ...newest, signal: new AbortController().signal });
    await vi.waitFor(() => expect(staged).toHaveLength(count));
    staged.at(-1)!.end();
    await used;
  }
});

test('does not give the file of a deleted tenant to another one of its name', async () => {
  let file = 'acme/tenant.db';
  const { staged, restored } = world({ fileOf: () => file });
  const former = await restored(3);
  file = 'acme/tenant.0123456789abcdef.db';
  expect((await restored(3)).name).not.toBe(former.name);
  expect(staged).toHaveLength(2);
});

test('removes a file that was not read for five minutes, and with the last one all else', async () => {
  const { files, staged, forgotten, open, use, restored, pass } = world();
  const { name } = await restored(5);
  pass(POINT_FILE_IDLE_MS - 1);
  files.removeIdle();
  await use(5);
  pass(POINT_FILE_IDLE_MS - 1);
  files.removeIdle();
  expect(existsSync(staged[0]!.path)).toBe(true);
  pass(1);
  files.removeIdle();
  await vi.waitFor(() => expect(open).toEqual({ folders: 0, reads: 0 }));
  expect(forgotten).toEqual([name]);
  expect(existsSync(dirname(staged[0]!.path))).toBe(false);
  await restored(5);
  expect(open).toEqual({ folders: 1, reads: 1 });
});

test('gives the place of the longest unread file to another, and none that may be read now', async () => {
  const { staged, use, restored, pass } = world();
  const most = Math.floor(MAX_POINT_FILES * 0.75);
  for (let commit = 1; commit <= most; commit++) await restored(commit);
  await expect(use(99)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  pass(READ_MS - 1);
  await use(1);
  pass(1);
  await restored(99);
  await vi.waitFor(() => expect(existsSync(staged[1]!.path)).toBe(false));
  expect(existsSync(staged[0]!.path)).toBe(true);
  expect(existsSync(staged[2]!.path)).toBe(true);
});

test('leaves a token of some tenants its share, and takes the place of its own files first', async () => {
  const { staged, use, restored, pass } = world();
  await restored(1, ofToken('a'));
  for (const commit of [2, 3]) await restored(commit, ofToken('b'));
  await expect(use(4, ofToken('b'))).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  pass(READ_MS);
  await restored(4, ofToken('b'));
  await vi.waitFor(() => expect(existsSync(staged[1]!.path)).toBe(false));
  expect(existsSync(staged[0]!.path)).toBe(true);
});

test('stops a restore when the last who waits for it has gone, and not before', async () => {
  const { staged, use, open } = world();
  const [one, other] = [new AbortController(), new AbortController()];
  const waits = [use(5, FLEET, one.signal), use(5, FLEET, other.signal)];
  await vi.waitFor(() => expect(staged).toHaveLength(1));
  one.abort();
  await expect(waits[0]).rejects.toMatchObject({ code: 'ABORTED' });
  expect(staged[0]!.signal.aborted).toBe(false);
  other.abort();
  await expect(waits[1]).rejects.toMatchObject({ code: 'ABORTED' });
  expect(staged[0]!.signal.aborted).toBe(true);
  await vi.waitFor(() => expect(open).toEqual({ folders: 0, reads: 0 }));
});

test('keeps nothing of a restore that failed, and tries it again for the next', async () => {
  const { staged, use, restored } = world();
  const failing = use(5);
  await vi.waitFor(() => expect(staged).toHaveLength(1));
  staged[0]!.end(new OnewriterError('REPLICA_UNAVAILABLE', 'The store is away.'));
  await expect(failing).rejects.toMatchObject({ code: 'REPLICA_UNAVAILABLE' });
  await restored(5);
  expect(staged).toHaveLength(2);
});

test('removes all when it is closed, also what is being restored', async () => {
  const { files, staged, use, restored, open } = world();
  await restored(5);
  const waits = use(6);
  await vi.waitFor(() => expect(staged).toHaveLength(2));
  const closing = files.close();
  await expect(waits).rejects.toMatchObject({ code: 'CLOSED' });
  await closing;
  expect(open).toEqual({ folders: 0, reads: 0 });
  await expect(use(5)).rejects.toMatchObject({ code: 'CLOSED' });
});
