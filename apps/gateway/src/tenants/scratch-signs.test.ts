import { existsSync, mkdtempSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trashDir } from '@onewriter/protocol';
import { expect, it, onTestFinished, vi } from 'vitest';
import { isLeft, SILENT_MS } from './scratch-signs.ts';
import { TenantFiles } from './tenant-files.ts';

function openFiles() {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-scratch-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  return { dataDir, files: () => new TenantFiles(dataDir, 'tenant.db', () => {}) };
}

const LIFE_MS = 6 * 60 * 60_000;

it('what a process that died has left is removed by the next, long before it expires', async () => {
  const { dataDir, files } = openFiles();
  const dead = await files().makeScratch('acme', LIFE_MS);
  const successor = files();
  const own = await successor.makeScratch('acme', LIFE_MS);
  expect(await successor.emptyTrash()).toEqual([]);
  const silent = new Date(Date.now() - SILENT_MS - 1_000);
  utimesSync(join(dead, 'alive'), silent, silent);
  expect(await successor.emptyTrash()).toHaveLength(1);
  expect([existsSync(dead), existsSync(own), existsSync(trashDir(dataDir))]).toEqual([false, true, true]);
  await successor.removeScratch(own);
});

it('a process keeps its own folders, also where its clock has leapt', async () => {
  const { files } = openFiles();
  const working = files();
  const scratch = await working.makeScratch('acme', LIFE_MS);
  expect(await working.emptyTrash(Date.now() + 2 * SILENT_MS)).toEqual([]);
  expect(existsSync(scratch)).toBe(true);
  await working.removeScratch(scratch);
  expect(existsSync(scratch)).toBe(false);
});

it('a process that works keeps its folders, and no timer without one', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const { files } = openFiles();
  const working = files();
  const scratch = await working.makeScratch('acme', LIFE_MS);
  const silent = new Date(Date.now() - SILENT_MS - 1_000);
  utimesSync(join(scratch, 'alive'), silent, silent);
  expect(await isLeft(scratch, Date.now())).toBe(true);
  vi.advanceTimersByTime(30_000);
  await vi.waitUntil(() => statSync(join(scratch, 'alive')).mtimeMs > silent.getTime());
  expect(await isLeft(scratch, Date.now())).toBe(false);
  await working.removeScratch(scratch);
  expect([existsSync(scratch), vi.getTimerCount()]).toEqual([false, 0]);
});

it('a folder without a sign, of an older version, expires by its name', async () => {
  const { dataDir } = openFiles();
  expect(await isLeft(dataDir, Number.MAX_SAFE_INTEGER)).toBe(false);
});
