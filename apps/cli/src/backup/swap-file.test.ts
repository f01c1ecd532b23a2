import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { swapFile } from './swap-file.ts';

let folder: string;
let path: string;

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

const valueIn = (at: string) => {
  const db = new Database(at, { readonly: true, fileMustExist: true });
  try {
    return db.prepare('SELECT value FROM t').pluck().get();
  } finally {
    db.close();
  }
};

it('keeps the old database with its log, and takes none of that to the new', () => {
  const oldReader = create(path, 'old', true) as Database.Database;
  expect(existsSync(`${path}-wal`)).toBe(true);
  create(`${path}.fresh`, 'new', false).close();
  swapFile(path, `${path}.fresh`, `${path}.aside`);
  expect(valueIn(path)).toBe('new');
  expect(valueIn(`${path}.aside`)).toBe('old');
  // Who had the old one open goes on reading it.
  expect(oldReader.prepare('SELECT value FROM t').pluck().get()).toBe('old');
  oldReader.close();
  expect(readdirSync(folder).filter(name => name.startsWith('tenant.db-'))).toEqual([]);
});

it('puts the old database back where the new one cannot come', () => {
  create(path, 'old', true).close();
  // There is nothing to put in place.
  expect(() => swapFile(path, `${path}.fresh`, `${path}.aside`)).toThrow(/the old one is in its place again/);
  expect(valueIn(path)).toBe('old');
  expect(existsSync(`${path}.aside`)).toBe(false);
});

it('says where all is where the old one cannot be put back, either', () => {
  create(path, 'old', false).close();
  // A folder of that name is in the way of both.
  const fresh = `${path}.fresh`;
  const inTheWay = setInTheWay(path);
  expect(() => swapFile(path, fresh, `${path}.aside`)).toThrow(/stays paused.*\.aside\*/);
  inTheWay();
  expect(valueIn(`${path}.aside`)).toBe('old');
});

/** Makes a folder at the path as soon as the file is gone from there: while `swapFile` waits. */
function setInTheWay(at: string): () => void {
  const wait = Atomics.wait;
  Atomics.wait = ((...args: Parameters<typeof Atomics.wait>) => {
    mkdirSync(join(at, 'in-the-way'), { recursive: true });
    return wait(...args);
  }) as typeof Atomics.wait;
  return () => {
    Atomics.wait = wait;
  };
}
