import { createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayServices, startGatewayServices } from '../e2e/services.ts';

/** How tools ask for the tables of a schema. Read in their sources: drizzle-kit 0.31, Atlas, Kysely 0.28, SQLite's shell. */
const LISTS: Readonly<Record<string, string>> = {
  'drizzle-kit, Payload': `SELECT DISTINCT m.name FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS p
    WHERE (m.type = 'table' OR m.type = 'view') AND m.tbl_name != '__drizzle_migrations'
      AND m.tbl_name NOT LIKE '\\_cf\\_%' ESCAPE '\\' AND m.tbl_name NOT LIKE '\\_litestream\\_%' ESCAPE '\\'
      AND m.tbl_name NOT LIKE 'libsql\\_%' ESCAPE '\\' AND m.tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`,
  Atlas: "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
  Kysely:
    "select name, sql, type from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by name",
  'the shell': `SELECT name FROM main.sqlite_schema WHERE type IN ('table', 'view')
    AND name NOT LIKE 'sqlite__%' ESCAPE '_' ORDER BY 1`,
};

let services: GatewayServices;
let client: ReturnType<typeof createClient>;

beforeAll(async () => {
  services = await startGatewayServices('schema-tools');
  client = createClient({ url: `${services.gateway.url}/t/acme/`, authToken: services.token });
  await client.execute('CREATE TABLE tasks(id INTEGER PRIMARY KEY, title TEXT NOT NULL)');
});

afterAll(async () => {
  client?.close();
  await services?.stop();
});

describe('a tool that compares schemas', () => {
  it.each(Object.entries(LISTS))('lists only the tables of the tenant: %s', async (_, sql) => {
    expect((await client.execute(sql)).rows.map(row => row['name'])).toEqual(['tasks']);
  });

  it.each([
    'drop table if exists `sqlite_onewriter_ledger`', // MikroORM, without skipTables
    'ALTER TABLE sqlite_onewriter_ledger RENAME TO x',
    'DELETE FROM sqlite_onewriter_ledger',
  ])('cannot change the tables that it lists all the same: %s', async sql => {
    await expect(client.execute(sql)).rejects.toMatchObject({ code: 'SQLITE_AUTH' });
    expect((await client.execute('SELECT count(*) AS jobs FROM sqlite_onewriter_ledger')).rows).toEqual([
      { jobs: 1 },
    ]);
  });
});
