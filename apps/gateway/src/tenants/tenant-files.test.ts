import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  DATABASE_GONE,
  incarnationOf,
  noteKnownDatabase,
  realDatabasePath,
  tenantFile,
  trashDir,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createRetireFile } from './retire-file.ts';
import { TenantFiles } from './tenant-files.ts';

function openFiles() {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-files-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const warnings: unknown[] = [];
  return {
    dataDir,
    warnings,
    files: new TenantFiles(
      dataDir,
      'tenant.db',
      createRetireFile(1_000, { warn: line => warnings.push(line) }),
    ),
  };
}

describe('TenantFiles', () => {
  it('creates a file once, and never touches one that is there', async () => {
    const { dataDir, files } = openFiles();
    expect(await files.names()).toEqual([]);
    expect(await files.create('acme')).toBe(true);
    writeFileSync(tenantFile(dataDir, 'acme'), 'content');
    expect(await files.create('acme')).toBe(false);
    expect(await files.size('acme')).toEqual({ bytes: 7, walBytes: 0 });
    expect(await files.size('nobody')).toBeUndefined();
    expect(await files.names()).toEqual(['acme']);
    await expect(files.create('../acme')).rejects.toMatchObject({ code: 'INVALID_TENANT' });
  });

  it('never uses a name twice, and keeps what was deleted whole', async () => {
    const { dataDir, warnings, files } = openFiles();
    const path = tenantFile(dataDir, 'acme');
    const names: string[] = [];
    for (const value of ['first', 'second', 'third']) {
      expect(await files.create('acme')).toBe(true);
      const real = realDatabasePath(path);
      names.push(real);
      const db = new Database(path);
      db.pragma('journal_mode = WAL');
      db.exec(`CREATE TABLE t(value); INSERT INTO t VALUES ('${value}')`);
      const { size } = statSync(`${real}-wal`);
      expect(await files.size('acme')).toEqual({ bytes: statSync(real).size, walBytes: size });
      expect(files.incarnation('acme')).toBe(incarnationOf('tenant.db', basename(real)) ?? '');
      const { name } = (await files.moveToTrash('acme', 60_000))!;
      expect(() => db.prepare('SELECT * FROM t').all()).toThrow(/no such table/);
      // It had the file open for writes: SQLite writes the tombstone back.
      db.close();
      const kept = new Database(join(trashDir(dataDir), name, 'tenant.db'), { readonly: true });
      expect(kept.prepare('SELECT * FROM t').all()).toEqual([{ value }]);
      expect(kept.pragma('integrity_check', { simple: true })).toBe('ok');
      kept.close();
    }
    expect(names[0]).toBe(path);
    expect(new Set(names).size).toBe(3);
    expect(warnings).toEqual([]);
  });

  it('moves away what cannot be notified, and says so', async () => {
    const { dataDir, warnings, files } = openFiles();
    await files.create('acme');
    writeFileSync(tenantFile(dataDir, 'acme'), 'no database'.repeat(500));
    await files.moveToTrash('acme', 60_000);
    expect(warnings).toMatchObject([{ tenant: 'acme', err: { code: 'SQLITE_NOTADB' } }]);
    expect(await files.create('acme')).toBe(true);
  });

  it('places a whole database under a name of its own where the tenant had one before', async () => {
    const { dataDir, files } = openFiles();
    const built = join(dataDir, 'built.db');
    new Database(built).exec('CREATE TABLE t(a)').close();
    expect(await files.place('acme', built)).toBe(true);
    expect(realDatabasePath(tenantFile(dataDir, 'acme'))).toBe(tenantFile(dataDir, 'acme'));
    await files.moveToTrash('acme', 60_000);
    expect(await files.place('acme', built)).toBe(true);
    expect(realDatabasePath(tenantFile(dataDir, 'acme'))).not.toBe(tenantFile(dataDir, 'acme'));
    const before = readdirSync(dirname(tenantFile(dataDir, 'acme')));
    expect(await files.place('acme', built)).toBe(false);
    expect(readdirSync(dirname(tenantFile(dataDir, 'acme')))).toEqual(before);
  });

  it('makes nothing in place of a database that a broker wrote to and that is gone, until it was deleted here', async () => {
    const { dataDir, files } = openFiles();
    await files.create('acme');
    noteKnownDatabase(dataDir, 'acme');
    const folder = dirname(tenantFile(dataDir, 'acme'));
    renameSync(folder, `${folder}.away`);
    const built = join(dataDir, 'built.db');
    new Database(built).exec('CREATE TABLE t(a)').close();
    for (const work of [() => files.create('acme'), () => files.place('acme', built)]) {
      await expect(work()).rejects.toMatchObject({
        code: 'TENANT_UNAVAILABLE',
        details: { reason: DATABASE_GONE },
      });
      expect(existsSync(folder)).toBe(false);
    }
    renameSync(`${folder}.away`, folder);
    expect(await files.create('acme')).toBe(false);
    await files.moveToTrash('acme', 60_000);
    expect(await files.create('acme')).toBe(true);
  });

  it('lists tenants only, by name', async () => {
    const { dataDir, files } = openFiles();
    for (const tenant of ['b', 'a', 'c-1']) await files.create(tenant);
    writeFileSync(join(dataDir, 'tenants', 'file'), '');
    expect(await files.names()).toEqual(['a', 'b', 'c-1']);
  });

  it('keeps what was deleted until it expires', async () => {
    const { dataDir, files } = openFiles();
    await files.create('acme');
    const entry = (await files.moveToTrash('acme', 60_000))!;
    expect(entry.name).toBe(`acme.${entry.deletedAtMs}.${entry.deletedAtMs + 60_000}`);
    expect(existsSync(join(trashDir(dataDir), entry.name, 'tenant.db'))).toBe(true);
    await expect(files.moveToTrash('acme', 60_000)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    expect(await files.moveToTrash('acme', 60_000, true)).toBeUndefined();
    // Other files are not removed.
    writeFileSync(join(trashDir(dataDir), 'notes.txt'), '');
    const scratch = await files.makeScratch('acme', 1_000);
    expect(await files.emptyTrash(entry.expiresAtMs - 1)).toHaveLength(1);
    expect(existsSync(scratch)).toBe(false);
    expect(await files.emptyTrash(entry.expiresAtMs)).toEqual([entry]);
    expect(readdirSync(trashDir(dataDir))).toEqual(['notes.txt']);
  });
});
