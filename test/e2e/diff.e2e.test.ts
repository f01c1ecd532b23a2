import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCli } from './cli-run.ts';
import { type Services, startServices } from './services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices('diff');
});
afterAll(() => services?.stop());

const run = async (...args: string[]) => {
  const { redis, data } = services;
  const done = await runCli([...args, '--data-dir', data.path, '--json'], {
    env: { ONEWRITER_REDIS_URL: redis.url },
  });
  return { ...done, json: done.stdout === '' ? undefined : JSON.parse(done.stdout) };
};

const ORDERS = 2_500;

it('brings back what one mistaken DELETE took, and keeps all that was written since', async () => {
  const acme = services.client.tenant('acme');
  await acme.exec(`CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers(id) ON DELETE CASCADE, cents INTEGER, note TEXT);
    INSERT INTO customers VALUES (1, 'ann'), (2, 'bob');
    INSERT INTO orders SELECT value, 1 + value % 2, value * 7, printf('order %d', value) 
      FROM (WITH RECURSIVE c(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM c WHERE value < ${ORDERS}) SELECT value FROM c)`);
  const {
    json: [{ path: backup }],
  } = await run('backup', 'acme');
  await acme.prepare('DELETE FROM customers WHERE id = 2').run();
  await acme.prepare("UPDATE orders SET note = 'by mistake' WHERE id = 2").run();
  await acme.prepare('UPDATE orders SET cents = 1 WHERE id = 4').run();
  await acme.prepare("INSERT INTO customers VALUES (3, 'cid')").run();
  await acme.prepare("INSERT INTO orders VALUES (9001, 3, 5, 'later')").run();

  const { json: found } = await run('diff', 'acme', backup);
  expect(found.tables).toMatchObject([
    { table: 'customers', key: ['id'], removed: 1, added: 1, changed: 0 },
    { table: 'orders', removed: ORDERS / 2, added: 1, changed: 2 },
  ]);
  expect(found.broughtBack).toBeNull();

  const back = await run('diff', 'acme', backup, '--bring-back', 'removed');
  expect(back).toMatchObject({ code: 0, json: { broughtBack: ORDERS / 2 + 1 } });
  expect(await acme.prepare('SELECT count(*) n, sum(cents) cents FROM orders').get()).toEqual({
    n: ORDERS + 1,
    // Order 4 has the later value.
    cents: (ORDERS * (ORDERS + 1) * 7) / 2 + 5 - 4 * 7 + 1,
  });
  expect((await run('diff', 'acme', backup)).json.tables).toMatchObject([
    { table: 'customers', removed: 0, added: 1 },
    { table: 'orders', removed: 0, added: 1, changed: 2 },
  ]);
});

it('brings back rows that refer to others of their table and of larger ones, beside many that were added', async () => {
  const tree = services.client.tenant('tree');
  const numbers = (count: number) =>
    `(WITH RECURSIVE c(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM c WHERE value < ${count}) SELECT value FROM c)`;
  await tree.exec(`CREATE TABLE nodes(id TEXT PRIMARY KEY, parent TEXT REFERENCES nodes(id));
    INSERT INTO nodes VALUES ('z', NULL), ('a', 'z'), ('b', 'a');
    CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people(id), note TEXT);
    INSERT INTO people SELECT value, 'x' FROM ${numbers(1_500)};
    INSERT INTO orders SELECT value, 1501 - value, printf('%.*c', 20000, 'x') FROM ${numbers(600)}`);
  const {
    json: [{ path: backup }],
  } = await run('backup', 'tree');
  await tree.exec(`DELETE FROM orders; DELETE FROM nodes; UPDATE people SET name = 'y' WHERE id = 1500; DELETE FROM people WHERE id < 1500;
    INSERT INTO people SELECT 2000 + value, 'later' FROM ${numbers(1_100)}`);
  const back = await run('diff', 'tree', backup, '--bring-back', 'removed,changed');
  expect(back).toMatchObject({ code: 0, json: { broughtBack: 3 + 1_500 + 600 } });
  expect((await run('diff', 'tree', backup)).json.tables).toMatchObject([
    { table: 'people', removed: 0, changed: 0, added: 1_100 },
  ]);
});

it('stops where a trigger takes rows away again, and refuses options that it does not know', async () => {
  const other = services.client.tenant('other');
  await other.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1), (2, 2)');
  const {
    json: [{ path: backup }],
  } = await run('backup', 'other');
  await other.exec(
    'DELETE FROM t; CREATE TRIGGER away AFTER INSERT ON t BEGIN DELETE FROM t WHERE id = new.id; END',
  );
  const stopped = await run('diff', 'other', backup, '--bring-back', 'removed');
  expect(stopped.code).toBe(1);
  expect(stopped.stderr).toContain('differ again');
  expect((await run('diff', 'other', backup, '--bring-back', 'all')).code).toBe(2);
  expect((await run('diff', 'other', `${backup}.none`)).stderr).toContain('There is no file');
});
