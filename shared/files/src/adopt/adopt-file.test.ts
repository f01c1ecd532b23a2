import { spawn } from 'node:child_process';
import {
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isKnownDatabase, noteFormerDatabase, realDatabasePath, tenantFile } from '@onewriter/protocol';
import { takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { hashContent } from '../own/content-hash.ts';
import { adoptFile } from './adopt-file.ts';
import { removeFirstName } from './adopt-steps.ts';
import { giveSecondName } from './second-name.ts';

let folder: string;
let tree: string;
let dataDir: string;
let source: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-adopt-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  tree = join(folder, 'app');
  dataDir = join(folder, 'data');
  for (const made of [tree, dataDir]) mkdirSync(made);
  source = join(tree, 'acme.db');
  file = tenantFile(dataDir, 'acme');
  change(source, db => db.exec('CREATE TABLE notes(text); INSERT INTO notes VALUES (1)'));
});

function change<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

const place = () => ({ dataDir, group: 'test', dbFile: 'tenant.db', busyTimeoutMs: 0 });
const adopt = () => adoptFile(place(), 'acme', source, tree, undefined, 'a test');
const notesIn = (path: string) => change(path, db => db.prepare('SELECT text FROM notes').pluck().all());
const link = () => {
  mkdirSync(dirname(file), { recursive: true });
  linkSync(source, file);
};

it.each([false, true])('adopts a file, also of a tenant that had one before: %s', async hadOne => {
  if (hadOne) noteFormerDatabase(dataDir, 'acme');
  const { contentHash } = await adopt();
  expect(existsSync(source)).toBe(false);
  expect(realDatabasePath(file) === file).toBe(!hadOne);
  expect(change(file, hashContent)).toBe(contentHash);
  expect(isKnownDatabase(dataDir, 'acme')).toBe(true);
});

it.each([false, true])(
  'leaves one as it was that a process without a lock has open; the tenant had one before: %s',
  async hadOne => {
    if (hadOne) noteFormerDatabase(dataDir, 'acme');
    mkdirSync(join(dataDir, 'tenants'));
    if (process.getuid?.() === 0) chownSync(join(dataDir, 'tenants'), 65_534, 65_534);
    const before = { ...statSync(source), bytes: readFileSync(source) };
    // It has the file open, as an app between two statements.
    const opener = spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', openSync(source, 'r')] });
    onTestFinished(() => void opener.kill('SIGKILL'));
    await expect(adopt()).rejects.toMatchObject({
      code: 'DATABASE_BUSY',
      message: expect.stringContaining(`process ${opener.pid} (`),
    });
    const { uid, gid, mode, nlink } = before;
    expect(statSync(source)).toMatchObject({ uid, gid, mode, nlink });
    expect(readFileSync(source)).toEqual(before.bytes);
    expect(existsSync(dirname(file))).toBe(false);
    expect(isKnownDatabase(dataDir, 'acme')).toBe(false);
  },
);

it('keeps the first name where a program has written by it since', () => {
  link();
  const hash = change(source, hashContent);
  const remove = (contentHash: string) => () =>
    removeFirstName(dataDir, 'acme', source, file, contentHash, 0);
  // Of a program that was killed: its commits are in a log that goes with the first name.
  writeFileSync(`${source}-wal`, 'commits');
  expect(remove(hash)).toThrow(/acme\.db-wal is still there/);
  expect(readFileSync(`${source}-wal`, 'utf8')).toBe('commits');
  rmSync(`${source}-wal`);
  change(source, db => db.exec('INSERT INTO notes VALUES (2)'));
  expect(remove(hash)).toThrow(/changed while it was adopted/);
  expect(notesIn(source)).toEqual([1, 2]);
  expect(isKnownDatabase(dataDir, 'acme')).toBe(false);
});

it('gives no second name to a file with another one, or that became a link', async () => {
  linkSync(source, join(tree, 'beta.db'));
  await expect(adopt()).rejects.toThrow(/another name somewhere/);
  expect(existsSync(dirname(file))).toBe(false);
  rmSync(source);
  symlinkSync(join(tree, 'beta.db'), source);
  await expect(adopt()).rejects.toThrow(/no regular file/);
  expect(existsSync(dirname(file))).toBe(false);
  expect(notesIn(join(tree, 'beta.db'))).toEqual([1]);
});

it('does not take away a name by which a process has the file open', () => {
  const second = giveSecondName(place(), 'acme', source, file, []);
  writeFileSync(`${file}-wal`, 'commits');
  second.undo();
  expect(readFileSync(`${file}-wal`, 'utf8')).toBe('commits');
  expect(statSync(file).ino).toBe(statSync(source).ino);
  rmSync(`${file}-wal`);
  second.undo();
  expect(existsSync(file)).toBe(false);
  // Nor the only one.
  const only = giveSecondName(place(), 'acme', source, file, []);
  rmSync(source);
  only.undo();
  expect(notesIn(file)).toEqual([1]);
});

it('continues where it was killed before its second name was the tenant’s', async () => {
  noteFormerDatabase(dataDir, 'acme');
  mkdirSync(dirname(file), { recursive: true });
  linkSync(source, join(dirname(file), `tenant.${'0'.repeat(20)}.db`));
  await adopt();
  expect(readdirSync(dirname(file)).sort()).toEqual([`tenant.${'0'.repeat(20)}.db`, 'tenant.db']);
  expect(notesIn(file)).toEqual([1]);
});

it('continues after it was killed, also where a broker has written since and was killed, too', async () => {
  link();
  change(file, db => {
    db.pragma('journal_mode = WAL');
    db.pragma('wal_autocheckpoint = 0');
    takeEpoch(db, 1);
    db.exec("INSERT INTO notes VALUES ('by a client')");
    for (const suffix of ['', '-wal']) copyFileSync(file + suffix, `${folder}/kept${suffix}`);
  });
  // Into the same file, which keeps both names.
  for (const suffix of ['', '-wal']) copyFileSync(`${folder}/kept${suffix}`, file + suffix);
  await adopt();
  expect(existsSync(source)).toBe(false);
  expect(notesIn(file)).toEqual([1, 'by a client']);
});
