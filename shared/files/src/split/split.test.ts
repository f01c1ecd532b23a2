import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { hashContent } from '../own/content-hash.ts';
import { makePart } from './make-part.ts';
import { planSplit } from './plan-split.ts';
import type { SplitOptions } from './split-messages.ts';

/** A file with all tenants, and what a split makes of it. */
function sourceOf(sql: string, given: Partial<SplitOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-split-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const source = join(folder, 'all.db');
  change(source, sql);
  const options = { columns: ['tenant'], shared: [], via: [], leaveOut: [], leaveOutNull: false, ...given };
  const plan = () => planSplit({ kind: 'planSplit', source, options }, 0, () => {});
  const take = async (name: string) => {
    const { stamp, tables, tenants } = await plan();
    const part = tenants.find(({ text }) => text === name)!;
    const shared = tables.flatMap(({ rule, rows }, index) =>
      rule.kind === 'shared' ? [[index, rows] as const] : [],
    );
    const draft = join(folder, `${name}.db`);
    makePart({ source, options, stamp }, { value: part, rows: new Map([...part.rows, ...shared]) }, draft);
    return draft;
  };
  return { source, folder, options, plan, take };
}

function change(path: string, sql: string): void {
  const db = new Database(path);
  try {
    db.pragma('foreign_keys = OFF');
    db.exec(sql);
  } finally {
    db.close();
  }
}

function hashOf(path: string): string {
  const db = new Database(path, { readonly: true });
  try {
    return hashContent(db);
  } finally {
    db.close();
  }
}

const SCHEMA = `
  PRAGMA user_version = 7;
  CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, note, twice AS (id * 2) STORED);
  CREATE TABLE items(order_id REFERENCES orders(id), n CHECK (n < 100));
  CREATE TABLE settings(tenant TEXT, key TEXT, value, PRIMARY KEY (tenant, key)) WITHOUT ROWID;
  CREATE TABLE plans(name);
  CREATE INDEX by_order ON items(order_id);
  CREATE VIEW open_orders AS SELECT * FROM orders WHERE note IS NULL;
`;
const TRIGGER = `
  CREATE TRIGGER added AFTER INSERT ON items BEGIN UPDATE orders SET note = 'touched' WHERE id = NEW.order_id; END;`;
/** Rows of one tenant. */
const rowsOf = (tenant: string, first: number) => `
  INSERT INTO orders(id, tenant, note) VALUES (${first}, '${tenant}', CAST(x'41ff' AS TEXT)), (${first + 1}, '${tenant}', 9007199254740993);
  INSERT INTO items(rowid, order_id, n) VALUES (${first + 70}, ${first}, 1.0), (${first + 71}, ${first}, 2), (${first + 72}, ${first + 1}, NULL);
  INSERT INTO settings VALUES ('${tenant}', 'a', x'00ff');`;
const SHARED = "INSERT INTO plans VALUES ('free'), ('paid');";
/** A trigger would fire for rows that come later. */
const fileOf = (rows: string) => `${SCHEMA} ${rows} ${TRIGGER}`;

it('makes a file of each tenant as if there had been no other: rows, row ids, bytes, schema', async () => {
  const { plan, take, folder } = sourceOf(fileOf(`${rowsOf('acme', 1)} ${rowsOf('beta', 11)} ${SHARED}`), {
    shared: ['plans'],
  });
  const found = await plan();
  expect(found.notes).toEqual([]);
  expect(found.tables.map(({ name, rows }) => [name, rows])).toEqual([
    ...[
      ['items', 6],
      ['orders', 4],
      ['plans', 2],
      ['settings', 2],
    ],
  ]);
  for (const [tenant, first] of [
    ['acme', 1],
    ['beta', 11],
  ] as const) {
    const expected = join(folder, `expected-${tenant}.db`);
    change(expected, `${fileOf(`${rowsOf(tenant, first)} ${SHARED}`)} UPDATE sqlite_sequence SET seq = 12;`);
    expect(hashOf(await take(tenant))).toBe(hashOf(expected));
  }
});

it('finds each integer as its own tenant', async () => {
  const { plan, take } = sourceOf(
    'CREATE TABLE t(tenant, a); INSERT INTO t VALUES (1, 5), (9007199254740993, 6)',
  );
  expect((await plan()).tenants.map(({ type, text }) => [type, text])).toEqual([
    ['integer', '1'],
    ['integer', '9007199254740993'],
  ]);
  const db = new Database(await take('9007199254740993'));
  expect(db.prepare('SELECT a FROM t').pluck().all()).toEqual([6]);
  db.close();
});

it('keeps names apart that a collation would join', async () => {
  const { plan, take } = sourceOf(
    "CREATE TABLE t(tenant COLLATE NOCASE, a); INSERT INTO t VALUES ('a', 1), ('A', 2)",
  );
  expect((await plan()).tenants.map(({ text }) => text).sort()).toEqual(['A', 'a']);
  const db = new Database(await take('A'));
  expect(db.prepare('SELECT a FROM t').pluck().all()).toEqual([2]);
  db.close();
});

const SHOP =
  'CREATE TABLE t(id INTEGER PRIMARY KEY, tenant); CREATE TABLE c(t REFERENCES t, u REFERENCES t);';

it.each<[string, string, Partial<SplitOptions>, RegExp]>([
  [
    'NULL in the column',
    "CREATE TABLE t(tenant); INSERT INTO t VALUES (NULL), ('a'), (NULL)",
    {},
    /2 rows of t have NULL in tenant/,
  ],
  [
    'a tenant that is no name',
    'CREATE TABLE t(tenant); INSERT INTO t VALUES (1.5)',
    {},
    /1 rows of t .* no name: real/,
  ],
  [
    'rows that another tenant has',
    `${SHOP} INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 2)`,
    { via: ['c.t=t.id'] },
    /1 rows of c refer by u to rows of t that another tenant has/,
  ],
  [
    'rows that lead to no tenant',
    `${SHOP} INSERT INTO t VALUES (1, 'a'); INSERT INTO c VALUES (NULL, 1), (7, 1)`,
    { via: ['c.t=t.id'] },
    /2 rows of c belong to no tenant/,
  ],
  [
    'a parent that has a value twice',
    "CREATE TABLE t(x, tenant); CREATE TABLE c(x); INSERT INTO t VALUES (1, 'a'), (1, 'b'); INSERT INTO c VALUES (1)",
    { via: ['c.x=t.x'] },
    /Rows of c belong to several rows of t/,
  ],
  [
    'a view of what is left out',
    'CREATE TABLE t(tenant); CREATE TABLE u(a); CREATE VIEW v AS SELECT * FROM u',
    { leaveOut: ['u'] },
    /view v cannot be made/,
  ],
])('refuses %s', async (_, sql, options, expected) => {
  const { notes } = await sourceOf(sql, options).plan();
  expect(
    notes
      .filter(({ level }) => level === 'error')
      .map(({ found }) => found)
      .join('\n'),
  ).toMatch(expected);
});

it('leaves rows without a tenant out where a person says so', async () => {
  const { plan } = sourceOf("CREATE TABLE t(tenant); INSERT INTO t VALUES (NULL), ('a')", {
    leaveOutNull: true,
  });
  const { tables, notes } = await plan();
  expect(notes.map(({ level }) => level)).toEqual(['note']);
  expect(tables).toMatchObject([{ name: 't', rows: 2, leftOut: 1 }]);
});

it('refuses a source that changed since it was looked at', async () => {
  const { source, folder, options, plan } = sourceOf("CREATE TABLE t(tenant); INSERT INTO t VALUES ('a')");
  const { stamp, tenants } = await plan();
  change(source, "INSERT INTO t VALUES ('b')");
  const value = tenants[0]!;
  const make = () =>
    makePart({ source, options, stamp }, { value, rows: new Map(value.rows) }, join(folder, 'a.db'));
  expect(make).toThrow(/changed meanwhile/);
});

it('refuses a part that has not as many rows as were counted', async () => {
  const { source, folder, options, plan } = sourceOf("CREATE TABLE t(tenant); INSERT INTO t VALUES ('a')");
  const { stamp, tenants } = await plan();
  const make = () =>
    makePart(
      { source, options, stamp },
      { value: tenants[0]!, rows: new Map([[0, 2]]) },
      join(folder, 'a.db'),
    );
  expect(make).toThrow(/1 rows of table t were copied, and 2 counted/);
});
