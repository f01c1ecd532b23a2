import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { tenantFile, trashDir } from '@onewriter/protocol';
import { takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { findOwnObjects } from '../own/own-objects.ts';
import { copyPlain, makeDraft } from './copy-plain.ts';
import { makePlain } from './make-plain.ts';
import { releaseTenant } from './release-tenant.ts';

let folder: string;
let dataDir: string;
let file: string;
let target: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-release-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  dataDir = join(folder, 'data');
  file = tenantFile(dataDir, 'acme');
  target = join(folder, 'out', 'acme.db');
  mkdirSync(dirname(file), { recursive: true });
  mkdirSync(dirname(target));
  change(file, db => {
    db.exec('CREATE TABLE notes(text); INSERT INTO notes VALUES (1)');
    takeEpoch(db, 1);
  });
});

function change<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

const release = (to: string) =>
  releaseTenant({ dataDir, group: 'test', dbFile: 'tenant.db', busyTimeoutMs: 0 }, 'acme', undefined, {
    ...{ target: to, journalMode: 'delete', retentionMs: 1, who: 'a test' },
  });

function expectAsItWas(): void {
  expect(change(file, findOwnObjects).length).toBeGreaterThan(0);
  expect(existsSync(trashDir(dataDir))).toBe(false);
}

it.each(['-wal', '-journal'])('takes no place where a log of another file lies: %s', async suffix => {
  writeFileSync(target + suffix, 'of a file that was moved away');
  await expect(release(target)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(existsSync(target)).toBe(false);
  expectAsItWas();
});

it('does not put the file into the data directory, by whatever name', async () => {
  symlinkSync(dataDir, join(folder, 'link'));
  for (const name of ['data/tenants/acme/plain.db', 'link/tenants/acme/tenant.db', 'link/out/new/acme.db']) {
    await expect(release(join(folder, name))).rejects.toThrow(/lies in the data directory/);
    expectAsItWas();
  }
});

it('leaves nothing at the new place where the tenant keeps its file', async () => {
  writeFileSync(trashDir(dataDir), 'no folder');
  await expect(release(target)).rejects.toMatchObject({ code: 'DATABASE_IO_ERROR' });
  expect(readdirSync(dirname(target))).toEqual([]);
  expect(change(file, findOwnObjects).length).toBeGreaterThan(0);
});

it('lets no other user read the copy before it has the rights of the file', async () => {
  chmodSync(file, 0o640);
  const draft = makeDraft(target, []);
  expect(statSync(draft).mode & 0o777).toBe(0o600);
  await copyPlain(file, draft, 'wal', 0);
  expect(statSync(draft).mode & 0o777).toBe(0o600);
  await release(target);
  expect(statSync(target).mode & 0o777).toBe(0o640);
  expect(readdirSync(dirname(target))).toEqual(['acme.db']);
});

it.skipIf(process.getuid?.() !== 0)(
  'gives the file to whom the tree belongs, where root releases it',
  async () => {
    chownSync(dirname(target), 65_534, 65_534);
    const deep = join(dirname(target), 'tenants/acme/kanban.db');
    await release(deep);
    for (const made of [deep, dirname(deep), dirname(dirname(deep))])
      expect(statSync(made)).toMatchObject({ uid: 65_534, gid: 65_534 });
  },
);

it('takes for its own what a killed run has put there, and nothing else', async () => {
  copyFileSync(file, target);
  await expect(release(target)).rejects.toThrow(/another file at/);
  makePlain(target, 'wal', 0);
  await expect(release(target)).rejects.toThrow(/another file at/);
  expectAsItWas();
  makePlain(target, 'delete', 0);
  await release(target);
  expect(existsSync(file)).toBe(false);
  expect(change(target, findOwnObjects)).toEqual([]);
});
