import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type LoadedDump, loadDump } from './load-dump.ts';

interface Loaded extends LoadedDump {
  readonly all: (sql: string) => unknown[];
}

/** @param base statements that make what the tenant has already */
function load(dump: string, base?: string): Loaded {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-load-'));
  const draft = join(folder, 'draft.db');
  if (base !== undefined) {
    const made = new Database(draft);
    made.pragma('foreign_keys = OFF');
    made.exec(base);
    made.close();
  }
  writeFileSync(join(folder, 'dump.sql'), dump);
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const loaded = loadDump(join(folder, 'dump.sql'), draft, () => {});
  const db = new Database(draft, { readonly: true });
  onTestFinished(() => void db.close());
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
  return { ...loaded, all: sql => db.prepare(sql).raw().all() };
}

const CHILDREN = `CREATE TABLE child(p INTEGER REFERENCES parent(id) ON DELETE CASCADE);
  CREATE TABLE parent(id INTEGER PRIMARY KEY);`;

describe('loading a dump', () => {
  it('loads rows before the ones that they refer to', () => {
    const { all } = load(
      `PRAGMA defer_foreign_keys=TRUE; ${CHILDREN} INSERT INTO child VALUES(1); INSERT INTO parent VALUES(1);`,
    );
    expect(all('SELECT p FROM child')).toEqual([[1]]);
  });

  it('loads rows before the table that they refer to, and before the index that makes its key one', () => {
    const { all } = load(`PRAGMA defer_foreign_keys=TRUE; CREATE TABLE a(b TEXT REFERENCES b(key));
      INSERT INTO a VALUES('x'); CREATE TABLE b(key TEXT); INSERT INTO b VALUES('x'); CREATE UNIQUE INDEX b_key ON b(key);`);
    expect(all('SELECT b FROM a')).toEqual([['x']]);
  });

  it('deletes children with their parent where foreign keys are on', () => {
    const { all } = load(
      'DELETE FROM parent;',
      `${CHILDREN} INSERT INTO parent VALUES(1); INSERT INTO child VALUES(1);`,
    );
    expect(all('SELECT p FROM child')).toEqual([]);
  });

  it('lets rows come back that were deleted', () => {
    const base = `${CHILDREN.replace(' ON DELETE CASCADE', '')} INSERT INTO parent VALUES(1); INSERT INTO child VALUES(1);`;
    const { all } = load('DELETE FROM parent; INSERT INTO parent VALUES(1), (2);', base);
    expect(all('SELECT p FROM child')).toEqual([[1]]);
    expect(() => load('DELETE FROM parent; INSERT INTO parent VALUES(2);', base)).toThrowError(/FOREIGN KEY/);
  });

  it('names a row whose parent is missing where foreign keys are on', () => {
    expect(() => load(`${CHILDREN} INSERT INTO child VALUES(7);`)).toThrowError(
      /child row 1 has no parent in parent/,
    );
  });

  it('loads such a row into an empty file where they are off, as it was dumped', () => {
    const dump = `PRAGMA foreign_keys=OFF; BEGIN TRANSACTION; ${CHILDREN} INSERT INTO child VALUES(7); COMMIT;`;
    expect(load(dump).all('SELECT p FROM child')).toEqual([[7]]);
  });

  it('refuses rows that newly dangle in a tenant with content, and leaves those that did', () => {
    const base = `${CHILDREN} INSERT INTO child VALUES(5);`;
    expect(
      load('PRAGMA foreign_keys=OFF; INSERT INTO parent VALUES(1);', base).all('SELECT p FROM child'),
    ).toEqual([[5]]);
    expect(() => load('PRAGMA foreign_keys=OFF; INSERT INTO child VALUES(7);', base)).toThrowError(
      /child row 2 → parent/,
    );
  });

  it('rebuilds a table without deleting the children, wherever foreign keys are turned off', () => {
    const rebuild = `CREATE TABLE new(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO new(id) SELECT id FROM parent;
      DROP TABLE parent; ALTER TABLE new RENAME TO parent;`;
    const base = `${CHILDREN} INSERT INTO parent VALUES(1); INSERT INTO child VALUES(1);`;
    for (const dump of [
      `PRAGMA foreign_keys=OFF; BEGIN; ${rebuild} COMMIT; PRAGMA foreign_keys=ON;`,
      `BEGIN; PRAGMA foreign_keys=OFF; ${rebuild} PRAGMA foreign_keys=ON; COMMIT;`,
    ]) {
      expect(load(dump, base).all('SELECT p FROM child')).toEqual([[1]]);
    }
  });

  it('loads virtual tables as the sqlite3 shell dumps them', () => {
    const node = `X'00000001${'0000000000000001'}${'40000000'}${'40400000'}${'00'.repeat(900)}'`;
    const { all } = load(`PRAGMA foreign_keys=OFF;
      BEGIN TRANSACTION;
      PRAGMA writable_schema=ON;
      INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','rt','rt',0,'CREATE VIRTUAL TABLE rt USING rtree(id,x0,x1)');
      CREATE TABLE IF NOT EXISTS 'rt_rowid'(rowid INTEGER PRIMARY KEY,nodeno);
      INSERT INTO rt_rowid VALUES(1,1);
      CREATE TABLE IF NOT EXISTS 'rt_node'(nodeno INTEGER PRIMARY KEY,data);
      INSERT INTO rt_node VALUES(1,${node});
      CREATE TABLE IF NOT EXISTS 'rt_parent'(nodeno INTEGER PRIMARY KEY,parentnode);
      PRAGMA writable_schema=OFF;
      COMMIT;`);
    expect(all('SELECT id, x0, x1 FROM rt')).toEqual([[1, 2, 3]]);
  });

  it('loads virtual tables whose shadow tables come first, as in the dump of a file that was vacuumed', () => {
    const of = new Database(':memory:');
    of.exec("CREATE VIRTUAL TABLE ft USING fts5(x); INSERT INTO ft VALUES ('one'), ('two')");
    const shadows = ['data', 'idx', 'content', 'docsize', 'config'].map(suffix => {
      const rows = of.prepare(`SELECT * FROM ft_${suffix}`).raw().all() as unknown[][];
      const { sql } = of.prepare('SELECT sql FROM sqlite_schema WHERE name = ?').get(`ft_${suffix}`) as {
        sql: string;
      };
      const literal = (value: unknown) =>
        Buffer.isBuffer(value)
          ? `X'${value.toString('hex')}'`
          : typeof value === 'string'
            ? `'${value}'`
            : String(value);
      const inserts = rows.map(row => `INSERT INTO ft_${suffix} VALUES(${row.map(literal)});`);
      return `${sql.replace('CREATE TABLE', 'CREATE TABLE IF NOT EXISTS')};${inserts.join('')}`;
    });
    of.close();
    const { all } = load(`PRAGMA foreign_keys=OFF; BEGIN; ${shadows.join('')} PRAGMA writable_schema=ON;
      INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','ft','ft',0,'CREATE VIRTUAL TABLE ft USING fts5(x)');
      PRAGMA writable_schema=OFF; COMMIT;`);
    expect(all("SELECT rowid FROM ft WHERE ft MATCH 'two'")).toEqual([[2]]);
  });

  describe('with AUTOINCREMENT', () => {
    const dump = `CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES(3);
      DELETE FROM sqlite_sequence; INSERT INTO sqlite_sequence VALUES('t',9);`;
    const sequences = 'SELECT name, seq FROM sqlite_sequence ORDER BY name';

    it('numbers as it was dumped in an empty file', () => {
      expect(load(dump.replace("'t',9", "'t',1")).all(sequences)).toEqual([['t', 1]]);
    });

    it('leaves the numbers of other tables as they are, and lets none go back', () => {
      const base = `CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT);
        INSERT INTO orders VALUES (41); DELETE FROM orders;`;
      const twice = `${dump} INSERT INTO sqlite_sequence VALUES('orders',5),('t',12);`;
      expect(load(twice, base).all(sequences)).toEqual([
        ['orders', 41],
        ['t', 12],
      ]);
    });
  });

  it("leaves Onewriter's own tables out, and says so", () => {
    const { all, leftOut } = load(
      'CREATE TABLE t(a); CREATE TABLE _onewriter_state(id INTEGER); INSERT INTO _onewriter_state VALUES(1); INSERT INTO t VALUES(1);',
    );
    expect(all("SELECT name FROM sqlite_schema WHERE name LIKE '\\_onewriter%' ESCAPE '\\'")).toEqual([]);
    expect(leftOut).toHaveLength(1);
  });

  it('leaves room on the disk, whatever rows a dump makes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'onewriter-load-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [source, draft] = [join(folder, 'dump.sql'), join(folder, 'draft.db')];
    writeFileSync(source, 'CREATE TABLE t(a);');
    expect(() => loadDump(source, draft, () => {}, Number.MAX_SAFE_INTEGER)).toThrowError(
      expect.objectContaining({ code: 'DATABASE_FULL' }),
    );
  });

  it.each([
    [
      'a transaction that is not committed',
      'CREATE TABLE t(a);\nBEGIN;\nINSERT INTO t VALUES(1);',
      /cut off.*line 2/,
    ],
    ['a statement that is cut off', "CREATE TABLE t(a);\nINSERT INTO t VALUES('abc", /^Line 2: /],
    ['nothing', '-- no statement\n', /no statement/],
    [
      'an error',
      'CREATE TABLE t(a UNIQUE);\nINSERT INTO t VALUES(1);\nINSERT INTO t VALUES(1);',
      /^Line 3: UNIQUE/,
    ],
    ['another file', "CREATE TABLE t(a);\nATTACH 'x' AS x;", /^Line 2: ATTACH/],
    ['the schema', "INSERT INTO sqlite_sequence VALUES('t', 1);", /^Line 1: no such table/],
    [
      'shadow tables of others',
      'DELETE FROM ft_data;',
      /may not be modified/,
      'CREATE VIRTUAL TABLE ft USING fts5(x)',
    ],
  ])('refuses %s, with the line', (_, dump, message, base?: string) => {
    expect(() => load(dump, base)).toThrowError(message);
  });
});
