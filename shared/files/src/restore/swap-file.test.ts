import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findDatabaseFile, realDatabasePath } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { swapFile } from './swap-file.ts';

let folder: string;
let path: string;
const SECOND = 1_000;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-swap-'));
  onTestFinished(() => {
    chmodSync(folder, 0o700);
    rmSync(folder, { recursive: true });
  });
  path = join(folder, 'tenant.db');
});

/** A database with one row; in WAL mode its row is in the log alone, which a reader keeps. */
function create(at: string, value: string, wal: boolean): { close(): void } {
  const db = new Database(at);
  if (wal) {
    db.pragma('journal_mode = WAL');
    db.pragma('wal_autocheckpoint = 0');
  }
  db.exec(`CREATE TABLE t(value); INSERT INTO t VALUES ('${value}')`);
  const reader = new Database(at, { readonly: true });
  reader.exec('BEGIN');
  reader.prepare('SELECT * FROM t').all();
  db.close();
  return reader;
}

/** A database that is to come into place: in WAL mode, without a log. */
function createFresh(value: string): void {
  const db = new Database(`${path}.fresh`);
  db.pragma('journal_mode = WAL');
  db.exec(`CREATE TABLE t(value); INSERT INTO t VALUES ('${value}')`);
  db.close();
}

const valueIn = (at: string) => {
  const db = new Database(at, { readonly: true, fileMustExist: true });
  try {
    return db.prepare('SELECT value FROM t').pluck().get();
  } finally {
    db.close();
  }
};

const open = (at: string) => {
  const db = new Database(at, { readonly: true, fileMustExist: true });
  onTestFinished(() => void db.close());
  return db;
};

it('keeps the old database with its log, and takes none of that to the new', () => {
  const oldReader = create(path, 'old', true) as Database.Database;
  expect(existsSync(`${path}-wal`)).toBe(true);
  createFresh('new');
  expect(swapFile(path, `${path}.fresh`, `${path}.aside`, SECOND)).toEqual({ notRetired: undefined });
  expect(valueIn(path)).toBe('new');
  // Its snapshot stays whole; the next read fails.
  expect(oldReader.prepare('SELECT value FROM t').pluck().get()).toBe('old');
  oldReader.exec('COMMIT');
  expect(() => oldReader.prepare('SELECT value FROM t').get()).toThrow(/no such table/);
  oldReader.close();
  expect(valueIn(`${path}.aside`)).toBe('old');
  expect(readdirSync(folder).filter(name => name.startsWith('tenant.db-'))).toEqual([]);
});

it('gives each file a name that no other has had', () => {
  create(path, 'value 0', true).close();
  const names = new Set([realDatabasePath(path)]);
  for (let swap = 1; swap <= 5; swap++) {
    const reader = open(path);
    reader.prepare('SELECT value FROM t').get();
    const neverRead = open(path);
    createFresh(`value ${swap}`);
    swapFile(path, `${path}.fresh`, `${path}.aside-${swap}`, SECOND);
    expect(valueIn(path)).toBe(`value ${swap}`);
    expect(() => reader.prepare('SELECT value FROM t').get()).toThrow(/no such table/);
    // Nor does one that has not read yet ever see the new file with the old log, or the other way round.
    try {
      expect(neverRead.prepare('SELECT value FROM t').pluck().get()).toBe(`value ${swap - 1}`);
    } catch (error) {
      expect(error).toBeInstanceOf(Database.SqliteError);
    }
    // A process that still has the old file open shares the index of its old log with all connections to that file.
    reader.close();
    neverRead.close();
    expect(valueIn(`${path}.aside-${swap}`)).toBe(`value ${swap - 1}`);
    names.add(realDatabasePath(path));
    expect(findDatabaseFile(path)?.path).toBe(join(folder, readlinkSync(path)));
  }
  expect(names.size).toBe(6);
  // One that had not read makes a log at the name that it knows; it is not that of any file any more.
  const left = readdirSync(folder).filter(name => !name.includes('.aside') && !/-(wal|shm)$/.test(name));
  expect(left.sort()).toEqual(['tenant.db', readlinkSync(path)].sort());
});

describe('the old database is whole', () => {
  /** Schemas of one page, of many, with long texts, with free pages, and with pages of pointers. */
  const schemas: Readonly<Record<string, (db: Database.Database) => void>> = {
    small: db => db.exec('CREATE TABLE t(value)'),
    large: db => {
      for (let table = 0; table < 300; table++) db.exec(`CREATE TABLE t${table}(a, b UNIQUE, c)`);
      db.exec('CREATE TABLE t(value)');
    },
    long: db => {
      db.exec('CREATE TABLE t(value)');
      for (let view = 0; view < 5; view++)
        db.exec(`CREATE VIEW v${view} AS SELECT '${'x'.repeat(30_000)}' FROM t`);
    },
    free: db => {
      for (let table = 0; table < 3_000; table++) db.exec(`CREATE TABLE u${table}(a)`);
      for (let table = 0; table < 2_900; table++) db.exec(`DROP TABLE u${table}`);
      db.exec('CREATE TABLE t(value)');
    },
    vacuumed: db => {
      db.exec('PRAGMA auto_vacuum = FULL; VACUUM');
      for (let table = 0; table < 200; table++) db.exec(`CREATE TABLE u${table}(a, b UNIQUE)`);
      db.exec('CREATE TABLE t(value)');
    },
  };

  for (const [name, make] of Object.entries(schemas)) {
    it(`although one who had it open for writes ends later, with a schema that is ${name}`, () => {
      const db = new Database(path);
      db.pragma('synchronous = OFF');
      if (name === 'vacuumed') make(db);
      else db.transaction(() => make(db))();
      db.exec("INSERT INTO t VALUES ('old')");
      db.pragma('journal_mode = WAL');
      const before = db.prepare('SELECT * FROM sqlite_schema ORDER BY rowid').all();
      const content = db.serialize().length;
      createFresh('new');
      expect(swapFile(path, `${path}.fresh`, `${path}.aside`, SECOND)).toEqual({ notRetired: undefined });
      // SQLite writes the tombstone back to the file, and closes.
      db.pragma('wal_checkpoint(TRUNCATE)');
      expect(() => db.prepare('SELECT * FROM t').all()).toThrow(/no such table/);
      db.close();
      expect(existsSync(`${path}.aside-wal`)).toBe(true);
      const kept = open(`${path}.aside`);
      expect(kept.pragma('integrity_check')).toEqual([{ integrity_check: 'ok' }]);
      expect(kept.prepare('SELECT * FROM sqlite_schema ORDER BY rowid').all()).toEqual(before);
      expect(kept.prepare('SELECT * FROM t').all()).toEqual([{ value: 'old' }]);
      expect(kept.serialize().length).toBe(content);
    });
  }

  it('although what is newest lies in the log, and a snapshot holds that', () => {
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    db.pragma('wal_autocheckpoint = 0');
    db.exec("CREATE TABLE t(value); INSERT INTO t VALUES ('older')");
    const snapshot = open(path);
    snapshot.exec('BEGIN');
    snapshot.prepare('SELECT * FROM t').all();
    db.exec("UPDATE t SET value = 'old'");
    createFresh('new');
    swapFile(path, `${path}.fresh`, `${path}.aside`, SECOND);
    expect(snapshot.prepare('SELECT value FROM t').pluck().get()).toBe('older');
    db.close();
    expect(snapshot.prepare('SELECT value FROM t').pluck().get()).toBe('older');
    snapshot.close();
    expect(valueIn(`${path}.aside`)).toBe('old');
  });
});

it('keeps a file that is no database as it is, and says that its readers do not notice', () => {
  writeFileSync(path, 'x'.repeat(5_000));
  createFresh('new');
  const { notRetired } = swapFile(path, `${path}.fresh`, `${path}.aside`, SECOND);
  expect(notRetired?.message).toMatch(/not a database/);
  expect(valueIn(path)).toBe('new');
  expect(existsSync(`${path}.aside`)).toBe(true);
});

it('leaves all as it was where the new database cannot come', () => {
  create(path, 'old', true).close();
  // There is nothing to put in place.
  expect(() => swapFile(path, `${path}.fresh`, `${path}.aside`, SECOND)).toThrow(
    /the old one is in its place/,
  );
  expect(valueIn(path)).toBe('old');
  expect(readdirSync(folder).filter(name => !name.startsWith('tenant.db'))).toEqual([]);
  expect(existsSync(`${path}.aside`)).toBe(false);
});

it('leaves all as it was where the name for the old one is taken', () => {
  create(path, 'old', false).close();
  createFresh('new');
  // Without a log that could be linked first, the database itself is in the way.
  writeFileSync(`${path}.aside`, 'kept by another');
  expect(() => swapFile(path, `${path}.fresh`, `${path}.aside`, SECOND)).toThrow(/nothing has changed/);
  expect(valueIn(path)).toBe('old');
  expect(readFileSync(`${path}.aside`, 'utf8')).toBe('kept by another');
});
