import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  changeNotePath,
  isHibernated,
  newDatabaseName,
  noteDatabaseChange,
  noteHibernated,
  tenantFile,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { locateTenant } from './tenant-location.ts';

let dataDir: string;
let path: string;
let locate: () => ReturnType<typeof locateTenant>;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-location-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  path = tenantFile(dataDir, 'acme');
  mkdirSync(dirname(path), { recursive: true });
  const options = { dataDir, dbFile: 'tenant.db', createTenants: true, busyTimeoutMs: 100 };
  locate = () => locateTenant(options, 'acme');
});

/** An incarnation of the tenant, open. */
function create(value: string): Database.Database {
  const db = new Database(join(dirname(path), newDatabaseName('tenant.db')));
  onTestFinished(() => void db.close());
  db.pragma('journal_mode = WAL');
  db.exec(`CREATE TABLE t(value); INSERT INTO t VALUES ('${value}')`);
  return db;
}

const read = (db: Database.Database) => db.prepare('SELECT value FROM t').pluck().get();

it('finishes a change that was cut off after the path had led to the new file', () => {
  const [old, fresh] = [create('old'), create('new')];
  const [ended, name] = [basename(old.name), basename(fresh.name)];
  symlinkSync(name, path);
  noteDatabaseChange(path, { old: ended, ended, kept: null, fresh: name });
  expect(read(old)).toBe('old');
  expect(locate().file?.path).toBe(fresh.name);
  expect(() => read(old)).toThrow(/no such table/);
  expect(read(fresh)).toBe('new');
  expect(existsSync(old.name)).toBe(false);
  expect(existsSync(changeNotePath(path))).toBe(false);
});

it('undoes one that was cut off before, and one whose note is not complete', () => {
  const [old, fresh] = [create('old'), create('new')];
  const ended = basename(old.name);
  symlinkSync(ended, path);
  noteDatabaseChange(path, { old: ended, ended, kept: null, fresh: basename(fresh.name) });
  expect(locate().file?.path).toBe(old.name);
  expect(existsSync(fresh.name)).toBe(false);
  writeFileSync(changeNotePath(path), '{"old":');
  expect(locate().file?.path).toBe(old.name);
  expect(read(old)).toBe('old');
  expect(existsSync(changeNotePath(path))).toBe(false);
});

it('removes an old note of a file that is here, so that it does not come back out of the replica where it is lost later', () => {
  create('here');
  symlinkSync(basename(readdirSync(dirname(path)).find(name => name.endsWith('.db'))!), path);
  noteHibernated(dataDir, 'acme', { commitSeq: 1, bytes: 1, since: '', who: '' });
  const before = new Date(Date.now() - 120_000);
  utimesSync(join(dataDir, 'hibernated/acme'), before, before);
  locate();
  expect(isHibernated(dataDir, 'acme')).toBe(false);
});

it('follows no name that a change does not give', () => {
  const other = join(dirname(path), 'other.db');
  writeFileSync(other, 'kept by a person');
  const change = { old: 'tenant.db', ended: 'other.db', kept: null, fresh: null };
  noteDatabaseChange(path, change);
  locate();
  expect(readdirSync(dirname(path))).toContain('other.db');
});
