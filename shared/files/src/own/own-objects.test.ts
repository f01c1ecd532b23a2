import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { isOwnTable } from '@onewriter/protocol';
import { takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makePlain } from '../release/make-plain.ts';
import { hashContent } from './content-hash.ts';
import { findOwnObjects, removeOwnObjects } from './own-objects.ts';

/** All that SQLite can keep in a file. */
const CONTENT = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
  CREATE TABLE child(id TEXT PRIMARY KEY, parent REFERENCES parent(id) ON DELETE CASCADE) WITHOUT ROWID;
  CREATE TABLE plain(a, b AS (a + 1), c AS (a * 2) STORED);
  CREATE VIRTUAL TABLE words USING fts5(text);
  CREATE INDEX by_a ON plain(a);
  CREATE VIEW both AS SELECT * FROM parent JOIN child ON child.parent = parent.id;
  CREATE TRIGGER added AFTER INSERT ON parent BEGIN INSERT INTO plain(a) VALUES (NEW.id); END;
  INSERT INTO parent(name) VALUES ('one'), ('two');
  INSERT INTO child VALUES ('x', 1), ('y', 2);
  INSERT INTO plain(rowid, a) VALUES (70, 1.0), (71, x'00ff'), (72, 'ä'), (73, NULL), (74, 9007199254740993);
  INSERT INTO words VALUES ('some words');
  PRAGMA user_version = 7;
  ANALYZE;`;

/** The writer's tables as they are now, and under the names that SQLite reserves. */
const KINDS: Readonly<Record<string, (db: Database.Database) => void>> = {
  'as the writer makes them': db => void takeEpoch(db, 3),
  'with reserved names': db => {
    db.unsafeMode(true);
    db.pragma('writable_schema = ON');
    db.exec('CREATE TABLE sqlite_onewriter_state(id INTEGER PRIMARY KEY, n ANY) STRICT');
    db.exec('CREATE TABLE sqlite_onewriter_keys(key TEXT PRIMARY KEY, v UNIQUE) WITHOUT ROWID');
    db.pragma('writable_schema = RESET');
    db.unsafeMode(false);
    db.exec(
      "INSERT INTO sqlite_onewriter_keys VALUES ('a', 1); INSERT INTO sqlite_onewriter_state VALUES (1, 2)",
    );
  },
};

function fileWith(content: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-own-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a.db');
  change(path, db => db.exec(content));
  return path;
}

function change<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

describe.each(Object.entries(KINDS))('the writer’s tables, %s', (_, make) => {
  it('go without a trace, and nothing else does', () => {
    const path = fileWith(CONTENT);
    const before = change(path, hashContent);
    change(path, db => {
      db.pragma('journal_mode = WAL');
      make(db);
      db.exec('ANALYZE');
    });
    expect(change(path, hashContent)).toBe(before);
    expect(makePlain(path, 'delete', 0)).toBe(before);
    change(path, db => {
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
      expect(findOwnObjects(db)).toEqual([]);
      const text = db.serialize().toString('latin1');
      expect(/onewriter/i.test(text)).toBe(false);
      db.exec("INSERT INTO parent(name) VALUES ('three'); ALTER TABLE child RENAME TO kids");
    });
    expect(existsSync(`${path}-wal`)).toBe(false);
  });

  it('stay where the transaction is undone', () => {
    const path = fileWith(CONTENT);
    change(path, make);
    change(path, db => {
      const before = findOwnObjects(db);
      expect(before.length).toBeGreaterThan(0);
      db.pragma('foreign_keys = OFF');
      db.exec('BEGIN');
      removeOwnObjects(db);
      expect(findOwnObjects(db)).toEqual([]);
      db.exec('ROLLBACK');
      expect(findOwnObjects(db)).toEqual(before);
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    });
  });
});

it('makes a file plain only where no other process has it open', () => {
  const path = fileWith(CONTENT);
  change(path, db => {
    db.pragma('journal_mode = WAL');
    takeEpoch(db, 1);
  });
  const reader = new Database(path, { readonly: true });
  onTestFinished(() => void reader.close());
  reader.prepare('SELECT count(*) FROM parent').get();
  expect(() => makePlain(path, 'delete', 0)).toThrow(/is open in .*stop it first/);
  expect(findOwnObjects(reader).length).toBeGreaterThan(0);
  reader.close();
  expect(makePlain(path, 'wal', 0)).toBe(change(path, hashContent));
  expect(change(path, db => db.pragma('journal_mode', { simple: true }))).toBe('wal');
});

it.each([
  ['delete', 'wal'],
  ['wal', 'delete'],
  ['wal', 'wal'],
  ['delete', 'delete'],
] as const)('leaves one file, that was in the journal mode %s, in the mode %s', (from, to) => {
  const path = fileWith(CONTENT);
  change(path, db => db.pragma(`journal_mode = ${from}`));
  makePlain(path, to, 0);
  expect(readdirSync(dirname(path))).toEqual([basename(path)]);
  expect(change(path, db => db.pragma('journal_mode', { simple: true }))).toBe(to);
});

it('removes triggers and indexes of the writer’s names on others’ tables', () => {
  const path = fileWith(
    `${CONTENT} CREATE TRIGGER _onewriter_t AFTER INSERT ON plain BEGIN SELECT 1; END; CREATE INDEX _onewriter_i ON plain(c);`,
  );
  change(path, db => {
    db.pragma('foreign_keys = OFF');
    removeOwnObjects(db);
    expect(findOwnObjects(db)).toEqual([]);
  });
});

it('knows names whatever their case', () => {
  expect(['_OneWriter_x', 'SQLITE_onewriter_x', 'onewriter', 'sqlite_stat1'].map(isOwnTable)).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

describe('the hash of a content', () => {
  const hashWith = (more: string) => change(fileWith(`${CONTENT} ${more}`), hashContent);

  it.each([
    'UPDATE plain SET a = 1 WHERE rowid = 70',
    'UPDATE plain SET a = -0.0 WHERE rowid = 70',
    'UPDATE plain SET rowid = 75 WHERE rowid = 74',
    'UPDATE plain SET a = 9007199254740992 WHERE rowid = 74',
    "UPDATE plain SET a = '' WHERE rowid = 73",
    'DELETE FROM child',
    'DROP INDEX by_a',
    "INSERT INTO words VALUES ('more')",
    'PRAGMA user_version = 8',
    'PRAGMA application_id = 8',
  ])('is another after %s', more => {
    expect(hashWith(more)).not.toBe(hashWith(''));
  });

  it('does not depend on pages, journal mode, or how the values came there', () => {
    expect(hashWith('PRAGMA journal_mode = WAL; UPDATE plain SET a = a')).toBe(hashWith(''));
    const path = fileWith(`PRAGMA page_size = 8192; ${CONTENT}`);
    expect(change(path, hashContent)).toBe(hashWith(''));
  });

  it('has all of a table with as many columns as there can be', () => {
    const columns = Array.from({ length: 2_000 }, (_, index) => `c${index}`).join();
    const hash = (last: number) =>
      hashWith(`CREATE TABLE wide(${columns}); INSERT INTO wide(c0, c1999) VALUES (1, ${last})`);
    expect(hash(1)).not.toBe(hash(2));
  });
});
