import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tenantFile } from '@onewriter/protocol';
import {
  CLI_MAIN,
  type Stack,
  spawnProcess,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GuideBlock, readGuideBlocks } from '../deployment/guide-blocks.ts';

const GUIDE = readFileSync(fileURLToPath(new URL('../../docs/adopt.md', import.meta.url)), 'utf8');
const BETTER_SQLITE3 = fileURLToPath(new URL('../../node_modules/better-sqlite3', import.meta.url));

let folder: TemporaryDirectory;
let stack: Stack;
const inFolder = (name: string) => join(folder.path, name);

/** The part of the shell of SQLite that the page uses: a machine of tests need not have it. */
const SHELL = `const Database = require(${JSON.stringify(BETTER_SQLITE3)});
  const [path, sql] = process.argv.slice(2);
  const db = new Database(path);
  if (sql === undefined) db.exec(require('fs').readFileSync(0, 'utf8'));
  else if (/^SELECT/.test(sql)) for (const row of db.prepare(sql).raw().all()) console.log(row.join('|'));
  else db.exec(sql);
  db.close();`;

beforeAll(async () => {
  folder = await temporaryDirectory('docs-adopt');
  for (const name of ['bin', 'data']) mkdirSync(inFolder(name));
  program('onewriter', `'${CLI_MAIN}'`);
  writeFileSync(inFolder('bin/sqlite3.cjs'), SHELL);
  program('sqlite3', `'${inFolder('bin/sqlite3.cjs')}'`);
  for (const root of ['old', 'in-place']) {
    for (const tenant of ['acme', 'beta']) {
      const path = inFolder(`${root}/tenants/${tenant}/kanban.db`);
      mkdirSync(join(path, '..'), { recursive: true });
      fill(path, 'CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT)');
    }
  }
  stack = await startStack({ dataDir: inFolder('data') });
});

afterAll(async () => {
  await stack?.stop();
  await folder?.remove();
});

function program(name: string, script: string): void {
  writeFileSync(inFolder(`bin/${name}`), `#!/bin/sh\nexec '${process.execPath}' ${script} "$@"\n`);
  chmodSync(inFolder(`bin/${name}`), 0o755);
}

function fill(path: string, sql: string): void {
  const db = new Database(path);
  db.exec(sql);
  db.close();
}

/** What has to be there before a block, by the name in its `given=`. */
const GIVEN: Readonly<Record<string, () => void>> = {
  '': () => {},
  dump: () =>
    writeFileSync(
      inFolder('acme.sql'),
      "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a(b);\nINSERT INTO a VALUES('it''s');\nCOMMIT;\n",
    ),
  big: () =>
    fill(
      inFolder('big.db'),
      `CREATE TABLE customers(name TEXT PRIMARY KEY);
       CREATE TABLE orders(id INTEGER PRIMARY KEY, tenant_id);
       CREATE TABLE items(order_id REFERENCES orders, plan REFERENCES plans);
       CREATE TABLE plans(id INTEGER PRIMARY KEY);
       INSERT INTO customers VALUES ('one'), ('two');
       INSERT INTO plans VALUES (5);
       INSERT INTO orders(tenant_id) VALUES ('one'), ('two'), ('one'), (NULL);
       INSERT INTO items VALUES (2, 5), (3, 5)`,
    ),
};

describe('docs/adopt.md', () => {
  const running = readGuideBlocks(GUIDE)
    .filter(({ runs }) => runs)
    .map(block => [`${block.section}, line ${block.line}`, block] as [string, GuideBlock]);

  // In their order: a later one builds on what an earlier one made.
  it.each(running)('%s', async (_, block) => {
    GIVEN[block.given]!();
    const shell = await spawnProcess('sh', ['-euc', block.commands], {
      cwd: folder.path,
      env: {
        ...withoutSettings(),
        NO_COLOR: '1',
        PATH: `${inFolder('bin')}:${process.env['PATH']}`,
        ONEWRITER_DATA_DIR: stack.dataDir,
        ONEWRITER_GATEWAY_URL: stack.gatewayUrl,
        OLD: inFolder('old'),
        IN_PLACE: inFolder('in-place'),
      },
    });
    const { code } = await shell.exited;
    expect(code, shell.logs()).toBe(block.exit);
  });

  it('leads each of them to the content that was there', () => {
    const read = (path: string, sql: string) => {
      const db = new Database(path, { readonly: true, fileMustExist: true });
      try {
        return db.prepare(sql).pluck().all();
      } finally {
        db.close();
      }
    };
    const data = (tenant: string) => tenantFile(stack.dataDir, tenant);
    expect(read(data('acme'), 'SELECT text FROM notes')).toEqual(['through Onewriter']);
    expect(read(data('turso-acme'), 'SELECT b FROM a')).toEqual(["it's"]);
    expect(read(data('one'), 'SELECT id FROM orders')).toEqual([1, 3]);
    expect(read(data('two'), 'SELECT id FROM orders')).toEqual([2]);
    expect(read(data('one'), 'SELECT order_id FROM items NATURAL JOIN plans')).toEqual([3]);
    expect(read(inFolder('in-place/tenants/acme/kanban.db'), 'SELECT name FROM sqlite_schema')).toEqual([
      'notes',
    ]);
  });
});
