import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { backupTenant } from './backup-tenant.ts';

it('gets a name of its own, and a manifest, beside one of the same second that has only its manifest yet', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-backup-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const place = { dataDir, dbFile: 'tenant.db', group: 'main', busyTimeoutMs: 1_000 };
  const file = tenantFile(dataDir, 'acme', place.dbFile);
  mkdirSync(dirname(file), { recursive: true });
  const db = new Database(file);
  db.exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');
  db.close();
  const out = join(dataDir, 'backups');
  const folder = join(out, 'acme');
  mkdirSync(folder, { recursive: true });
  // Another process is at the same for each second in which this may run.
  for (let second = 0; second < 60; second++) {
    const time = new Date(Date.now() + second * 1_000).toISOString();
    writeFileSync(join(folder, `${time.slice(0, 19).replace(/[-:]/g, '')}Z.json`), 'of the other');
  }
  const { path, manifest } = await backupTenant(place, 'acme', out, 'full');
  const name = basename(path, '.db');
  expect(name).toMatch(/^\d{8}T\d{6}Z-2$/);
  expect(JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'))).toEqual(manifest);
  expect(manifest).toMatchObject({ file: `${name}.db`, tenant: 'acme', rows: 1 });
  expect(readFileSync(join(folder, `${name.slice(0, -2)}.json`), 'utf8')).toBe('of the other');
  expect(readdirSync(folder).filter(each => each.endsWith('.part'))).toEqual([]);
  expect(existsSync(path)).toBe(true);
});
