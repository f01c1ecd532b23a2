import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createDatabaseFile, hadDatabase, realDatabasePath, tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { DataPlace } from '../data-place.ts';
import { linkNewFile } from './put-in-place.ts';
import { takeAwayFile } from './take-away.ts';

let place: DataPlace;
let path: string;

beforeEach(() => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-away-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  place = { dataDir, group: 'g', dbFile: 'tenant.db', busyTimeoutMs: 100 };
  path = tenantFile(dataDir, 'acme');
  mkdirSync(dirname(path), { recursive: true });
});

const open = (at: string, options: Database.Options = {}) => {
  const db = new Database(at, { fileMustExist: true, timeout: 50, ...options });
  onTestFinished(() => void db.close());
  return db;
};

/** The tenant's file, with one row in its log. */
function fill(isLinked: boolean): Database.Database {
  createDatabaseFile(path, isLinked);
  const db = open(path);
  db.pragma('journal_mode = WAL');
  db.exec("CREATE TABLE t(value); INSERT INTO t VALUES ('old')");
  return db;
}

const namesLeft = () => readdirSync(dirname(path));
const take = (confirm: (db: Database.Database) => void = () => {}) => takeAwayFile(place, 'acme', confirm);

describe.each([
  ['plain', false],
  ['linked', true],
] as const)('a file that is %s', (_, isLinked) => {
  it('goes with all of its names, and every handle notices', () => {
    const writer = fill(isLinked);
    const reader = open(path, { readonly: true });
    reader.prepare('SELECT * FROM t').get();
    const neverRead = open(path, { readonly: true });
    const neverWritten = open(path);
    let seen: unknown;
    expect(
      take(db => {
        seen = db.prepare('SELECT value FROM t').pluck().get();
      }),
    ).toBeUndefined();
    expect(seen).toBe('old');
    for (const db of [writer, reader]) {
      expect(() => db.prepare('SELECT * FROM t').all()).toThrow(/no such table/);
    }
    for (const db of [neverRead, neverWritten]) {
      expect(() => db.prepare('SELECT * FROM t').all()).toThrow(Database.SqliteError);
    }
    for (const db of [writer, reader, neverRead, neverWritten]) db.close();
    // A handle that had not read may have made a log; it belongs to no file.
    expect(namesLeft().filter(name => !/-(wal|shm)$/.test(name))).toEqual([]);
    expect(hadDatabase(place.dataDir, 'acme')).toBe(true);
  });

  it('stays where it is not what is stored elsewhere', () => {
    fill(isLinked);
    const before = namesLeft();
    const refuse = () => {
      throw new TypeError('another commit');
    };
    expect(() => take(refuse)).toThrow('another commit');
    expect(namesLeft()).toEqual(before);
    expect(open(path).prepare('SELECT value FROM t').pluck().get()).toBe('old');
  });

  it('takes no commit of another process once it is confirmed', () => {
    const writer = fill(isLinked);
    take(() => {
      expect(() => writer.exec("INSERT INTO t VALUES ('lost')")).toThrow(/locked/);
    });
    expect(() => writer.exec("INSERT INTO t VALUES ('lost')")).toThrow(/no such table/);
  });

  it('stays while a process reads an older state', () => {
    const writer = fill(isLinked);
    const snapshot = open(path, { readonly: true });
    snapshot.exec('BEGIN');
    snapshot.prepare('SELECT * FROM t').get();
    writer.exec("UPDATE t SET value = 'new'");
    expect(() => take()).toThrow(/reads an older state/);
    snapshot.exec('COMMIT');
    expect(take()).toBeUndefined();
  });

  it('leaves a snapshot that is of the newest state whole', () => {
    fill(isLinked);
    const snapshot = open(path, { readonly: true });
    snapshot.exec('BEGIN');
    expect(snapshot.prepare('SELECT value FROM t').pluck().get()).toBe('old');
    expect(take()).toBeUndefined();
    expect(existsSync(path)).toBe(false);
    expect(snapshot.prepare('SELECT value FROM t').pluck().get()).toBe('old');
    snapshot.exec('COMMIT');
    expect(() => snapshot.prepare('SELECT * FROM t').get()).toThrow(/no such table/);
  });

  it('comes back under a name that it never had', () => {
    fill(isLinked);
    const before = realDatabasePath(path);
    take();
    const fresh = new Database(`${path}.fresh`);
    fresh.exec("CREATE TABLE t(value); INSERT INTO t VALUES ('woken')");
    fresh.close();
    linkNewFile(place, 'acme', `${path}.fresh`, path);
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(realDatabasePath(path)).not.toBe(before);
    expect(open(path).prepare('SELECT value FROM t').pluck().get()).toBe('woken');
  });
});

it('refuses what is no database, and a tenant without a file', () => {
  expect(() => take()).toThrow(/has no file/);
  writeFileSync(path, 'x'.repeat(5_000));
  expect(() => take()).toThrow(/not a database/);
  expect(namesLeft()).toEqual(['tenant.db']);
});
