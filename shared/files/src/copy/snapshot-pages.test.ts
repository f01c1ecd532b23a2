import { mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished, vi } from 'vitest';
import { hashFile } from '../backup/manifest.ts';
import { type PageComparison, SnapshotPages } from './snapshot-pages.ts';

const ROWS = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO t SELECT i, hex(randomblob(200)) FROM n`;
const CHANGE = 'UPDATE t SET a = hex(randomblob(100)) WHERE id % 7 = 0';

/** A database with rows, its connection, and a path for a copy. */
function makeDatabase(journalMode = 'wal', pageSize = 4_096) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-pages-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'source.db');
  const open = (readonly = false) => {
    const db = new Database(path, { readonly });
    onTestFinished(() => void db.close());
    return db;
  };
  const db = open();
  db.pragma(`page_size = ${pageSize}`);
  db.pragma(`journal_mode = ${journalMode}`);
  db.pragma('wal_autocheckpoint = 0');
  db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE INDEX i ON t(a); ${ROWS}`);
  return { db, open, path, copy: join(folder, 'copy.db') };
}

/** Takes a snapshot, has `others` work, copies the snapshot, and compares. */
async function compare(
  { open, path, copy }: ReturnType<typeof makeDatabase>,
  others: () => void = () => {},
  damage: () => void = () => {},
  reader = open(true),
): Promise<PageComparison | undefined> {
  const pages = new SnapshotPages(path);
  pages.begin(reader);
  others();
  await reader.backup(copy, { progress: () => 0x7fffffff });
  const settled = new Database(copy);
  settled.pragma('journal_mode = DELETE');
  settled.close();
  damage();
  const found = pages.compare(copy);
  reader.close();
  pages.close();
  return found;
}

/** Changes one byte of a file. */
function flip(path: string, at: number): void {
  const file = openSync(path, 'r+');
  writeSync(file, Buffer.of(readFileSync(path)[at]! ^ 1), 0, 1, at);
}

const checkpoint = 'wal_checkpoint(PASSIVE)';

const turn = (db: Database.Database) => {
  db.pragma(checkpoint);
  db.exec(CHANGE);
};

it.each([
  ['all in the log', () => {}],
  ['all in the file', db => void db.pragma(checkpoint)],
  ['some in either', turn],
  [
    'a log that was reset',
    db => {
      turn(db);
      turn(db);
    },
  ],
] satisfies [string, (db: Database.Database) => void][])(
  'finds a copy the same while others commit and write back: %s',
  async (_, prepare) => {
    const made = makeDatabase();
    prepare(made.db);
    const found = await compare(made, () => {
      for (let count = 0; count < 3; count++) {
        made.db.exec(CHANGE);
        made.db.pragma(checkpoint);
      }
      made.db.exec('DELETE FROM t WHERE id % 2 = 0');
    });
    expect(found).toEqual({ difference: undefined, sha256: await hashFile(made.copy) });
  },
);

it.each([
  ['delete', 4_096],
  ['wal', 512],
  ['wal', 65_536],
])('reads pages of a database in journal mode %s, of %i bytes', async (journalMode, pageSize) => {
  const made = makeDatabase(journalMode, pageSize);
  expect(await compare(made)).toEqual({ difference: undefined, sha256: await hashFile(made.copy) });
});

it.each([
  ['in the first page, behind its header', 200, 1],
  ['in the middle', 100 * 4_096 + 17, 101],
])('finds one bit that differs %s', async (_, at, page) => {
  const made = makeDatabase();
  const found = await compare(made, undefined, () => flip(made.copy, at));
  expect(found?.difference).toBe(`page ${page} is another`);
});

it('finds a page of the log that differs', async () => {
  const made = makeDatabase();
  // The last frame; its checksum is not looked at while the index is there.
  const found = await compare(made, undefined, () =>
    flip(`${made.path}-wal`, readFileSync(`${made.path}-wal`).length - 9),
  );
  expect(found?.difference).toMatch(/^page \d+ is another$/);
});

it('takes the snapshot again where others commit before it is known how far it goes', async () => {
  const made = makeDatabase();
  const reader = made.open(true);
  const prepare = reader.prepare.bind(reader);
  vi.spyOn(reader, 'prepare').mockImplementationOnce(sql => {
    const statement = prepare(sql);
    const get = () => {
      const row = statement.get();
      made.db.exec(CHANGE);
      return row;
    };
    return Object.assign(Object.create(statement), { get });
  });
  const begun = vi.spyOn(reader, 'exec');
  expect(await compare(made, undefined, undefined, reader)).toMatchObject({ difference: undefined });
  expect(begun.mock.calls.map(([sql]) => sql)).toEqual(['BEGIN', 'ROLLBACK', 'BEGIN']);
});

it('says nothing where it is not known how far the snapshot goes', async () => {
  const made = makeDatabase();
  made.db.close();
  const alone = new Database(made.path);
  alone.pragma('locking_mode = EXCLUSIVE');
  alone.exec('SELECT * FROM t LIMIT 1');
  const pages = new SnapshotPages(made.path);
  pages.begin(alone);
  expect(pages.compare(made.path)).toBeUndefined();
  alone.close();
  pages.close();
});
