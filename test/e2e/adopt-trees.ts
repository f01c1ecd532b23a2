import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { type ContentHashes, hashContents } from '../conformance/corpus/content-hash.ts';

/* Trees of SQLite files as other programs leave them, for the tests of `onewriter adopt` and `release`. */

const PAGE_SIZES = [512, 1_024, 4_096, 16_384, 65_536];
const ENCODINGS = ['UTF-8', 'UTF-16le', 'UTF-16be'];
const VACUUMS = ['NONE', 'FULL', 'INCREMENTAL'];

/** Makes a file; each number another kind, and the same number the same content. */
export function makeVaried(path: string, number: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const db = new Database(path);
  try {
    db.pragma(`page_size = ${PAGE_SIZES[number % PAGE_SIZES.length]}`);
    db.pragma(`encoding = '${ENCODINGS[number % ENCODINGS.length]}'`);
    db.pragma(`auto_vacuum = ${VACUUMS[number % VACUUMS.length]}`);
    if (number % 2 === 0) db.pragma('journal_mode = WAL');
    db.pragma(`user_version = ${number}`);
    db.exec(`CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT, at REAL DEFAULT 1.5);
      INSERT INTO notes(text) VALUES ('ä€ ${number}'), (NULL), (x'00ff');`);
    if (number % 3 === 0) {
      db.exec(`CREATE TABLE tags(note INTEGER REFERENCES notes ON DELETE CASCADE, tag TEXT, PRIMARY KEY (note, tag)) WITHOUT ROWID;
        INSERT INTO tags VALUES (1, 'a'), (1, 'b')`);
    }
    if (number % 4 === 0) {
      db.exec(`CREATE VIRTUAL TABLE words USING fts5(text, content = notes, content_rowid = id);
        CREATE TRIGGER indexed AFTER INSERT ON notes BEGIN INSERT INTO words(rowid, text) VALUES (NEW.id, NEW.text); END`);
    }
    if (number % 5 === 0) {
      db.exec(`CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, what);
        CREATE TRIGGER logged AFTER INSERT ON notes BEGIN INSERT INTO log(what) VALUES (NEW.text); END;
        CREATE VIEW last AS SELECT * FROM log ORDER BY id DESC LIMIT 1`);
    }
    if (number % 7 === 0)
      db.exec('CREATE TABLE heap(a, b); INSERT INTO heap VALUES (1, zeroblob(20000)); DELETE FROM heap');
  } finally {
    db.close();
  }
  if (number % 10 === 0) leaveLog(path);
}

/** Leaves a log with commits beside a file, as a process that was killed does. */
export function leaveLog(path: string): void {
  const db = new Database(path);
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('wal_autocheckpoint = 0');
    db.exec("INSERT INTO notes(text) VALUES ('in the log')");
    for (const suffix of ['', '-wal']) copyFileSync(path + suffix, `${path}.kept${suffix}`);
  } finally {
    db.close();
  }
  for (const suffix of ['', '-wal']) {
    copyFileSync(`${path}.kept${suffix}`, path + suffix);
    rmSync(`${path}.kept${suffix}`);
  }
}

/** Leaves a file in the middle of a transaction, with the journal that undoes it. */
export function leaveHotJournal(path: string): void {
  const db = new Database(path);
  try {
    db.pragma('journal_mode = DELETE');
    db.pragma('cache_size = 5');
    db.exec('BEGIN');
    // More than the cache holds, so that pages are written to the file.
    for (let row = 0; row < 500; row++)
      db.exec(`INSERT INTO notes(text) VALUES ('never committed ${'x'.repeat(500)}')`);
    for (const suffix of ['', '-journal']) copyFileSync(path + suffix, `${path}.kept${suffix}`);
    db.exec('ROLLBACK');
  } finally {
    db.close();
  }
  for (const suffix of ['', '-journal']) {
    copyFileSync(`${path}.kept${suffix}`, path + suffix);
    rmSync(`${path}.kept${suffix}`);
  }
}

/** What is in a file, by a hash of our own tests. */
export function contentOf(path: string): ContentHashes {
  return hashContents(path, () => {});
}

/** All files below a folder with the hash of their bytes; without the index that SQLite makes of a log that was left. */
export function bytesBelow(root: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const walk = (folder: string) => {
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      const stats = lstatSync(path);
      if (stats.isDirectory()) walk(path);
      else if (stats.isSymbolicLink()) found.set(path, readlinkSync(path));
      else if (!name.endsWith('-shm'))
        found.set(path, createHash('sha256').update(readFileSync(path)).digest('hex'));
    }
  };
  if (existsSync(root)) walk(root);
  return found;
}

/** A process that has a file open until it is ended. Resolves when it has. */
export async function openElsewhere(path: string): Promise<{ readonly pid: number; end(): Promise<void> }> {
  const script = `
    const Database = require(${JSON.stringify(new URL('../../node_modules/better-sqlite3', import.meta.url).pathname)});
    const db = new Database(${JSON.stringify(path)}); db.prepare('SELECT count(*) FROM notes').get();
    process.stdin.resume(); console.log('open');`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('close', code => reject(new Error(`It ended with ${code}.`)));
  });
  return {
    pid: child.pid!,
    end: () => {
      child.kill('SIGKILL');
      return ended;
    },
  };
}
