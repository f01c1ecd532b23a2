import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openDoors } from '../conformance/doors.ts';

/*
 * The rebuild of a table with 1,000 rows, to which others refer with ON DELETE CASCADE, through every interface, against the
 * same on a plain file.
 */

const SCHEMA = `
  CREATE TABLE lists(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE cards(id INTEGER PRIMARY KEY, list INTEGER NOT NULL REFERENCES lists(id) ON DELETE CASCADE, rank TEXT);
  CREATE TABLE notes(card INTEGER REFERENCES cards(id) ON DELETE CASCADE, body TEXT);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO lists SELECT i, 'list ' || i FROM n;
  INSERT INTO cards SELECT id, 1001 - id, id FROM lists;
  INSERT INTO notes SELECT id, 'note ' || id FROM lists;
`;

const OFF = 'PRAGMA foreign_keys=OFF';
const ON = 'PRAGMA foreign_keys=ON';
/** Another type, a rename and a dropped column; of `lists` with NOT NULL. */
const REBUILD = [
  'CREATE TABLE new_lists(id INTEGER PRIMARY KEY, title TEXT NOT NULL)',
  'INSERT INTO new_lists SELECT id, name FROM lists',
  'DROP TABLE lists',
  'ALTER TABLE new_lists RENAME TO lists',
  'CREATE TABLE new_cards(id INTEGER PRIMARY KEY, list INTEGER NOT NULL REFERENCES lists(id) ON DELETE CASCADE, rank INTEGER)',
  'INSERT INTO new_cards SELECT id, list, rank FROM cards',
  'DROP TABLE cards',
  'ALTER TABLE new_cards RENAME TO cards',
  'CREATE INDEX cards_list ON cards(list)',
  'PRAGMA foreign_key_check',
];
const FRAMED = [OFF, 'BEGIN', ...REBUILD, 'COMMIT', ON];
const TABLES = ['lists', 'cards', 'notes'];
const DUMP = [
  "SELECT sql FROM sqlite_schema WHERE tbl_name IN ('lists', 'cards', 'notes') ORDER BY name",
  ...TABLES.map(table => `SELECT * FROM ${table} ORDER BY 1`),
];

let stack: Stack;
let onewriter: Onewriter;
let tenants = 0;
const DOORS = openDoors(
  () => stack,
  () => onewriter,
);

beforeAll(async () => {
  stack = await startStack();
  onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});
afterAll(async () => {
  await onewriter?.close();
  await stack?.stop();
});

async function contentOf(tenant: string): Promise<unknown[]> {
  const contents = [];
  for (const sql of DUMP) contents.push(await onewriter.tenant(tenant).prepare(sql).all());
  return contents;
}

describe.each(Object.entries(DOORS))('the rebuild of a table through %s', (_name, send) => {
  it('has the result that it has on a plain file, and keeps the rows that refer to it', async () => {
    const plain = new Database(':memory:');
    onTestFinished(() => {
      plain.close();
    });
    plain.exec(`${SCHEMA}; ${FRAMED.join(';')}`);
    const tenant = `rebuild-${++tenants}`;
    await onewriter.tenant(tenant).exec(SCHEMA);
    await send(tenant, FRAMED);
    expect(await contentOf(tenant)).toEqual(DUMP.map(sql => plain.prepare(sql).all()));
    await onewriter.tenant(tenant).prepare('DELETE FROM lists WHERE id = 1').run();
    expect(await onewriter.tenant(tenant).prepare('SELECT count(*) AS n FROM notes').all()).toEqual([
      { n: 999 },
    ]);
  });

  it('is refused with table, row and parent where it loses a row that others refer to', async () => {
    const tenant = `rebuild-${++tenants}`;
    await onewriter.tenant(tenant).exec(SCHEMA);
    const before = await contentOf(tenant);
    const losing = FRAMED.map(sql => sql.replace('FROM lists', 'FROM lists WHERE id <> 7'));
    await expect(send(tenant, losing)).rejects.toThrow(/cards row 994 → lists/);
    expect(await contentOf(tenant)).toEqual(before);
  });
});
