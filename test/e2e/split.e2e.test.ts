import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import { CLI_MAIN, spawnProcess, temporaryDirectory, waitFor, withoutSettings } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

const TENANTS = 60;
const ROWS = 200;

/** One database with all tenants, and a data directory that is not there yet; no broker runs. */
async function sourceWith(sql: string) {
  const folder = await temporaryDirectory('split');
  onTestFinished(() => folder.remove());
  const source = join(folder.path, 'all.db');
  change(source, sql);
  const dataDir = join(folder.path, 'data');
  const args = (...more: string[]) => [
    ...['import', source, '--split-by', 'team', '--offline', '--data-dir', dataDir],
    ...more,
  ];
  return { folder: folder.path, source, dataDir, args, split: (...more: string[]) => runCli(args(...more)) };
}

function change(path: string, sql: string): void {
  const db = new Database(path);
  try {
    db.exec(sql);
  } finally {
    db.close();
  }
}

function read(path: string, sql: string): unknown[] {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare(sql).pluck().all();
  } finally {
    db.close();
  }
}

const TEAMS = `
  CREATE TABLE teams(name TEXT PRIMARY KEY);
  CREATE TABLE tasks(id INTEGER PRIMARY KEY, team REFERENCES teams, title);
  CREATE TABLE marks(task REFERENCES tasks, n);
  CREATE INDEX by_team ON tasks(team);
  WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${TENANTS}) INSERT INTO teams SELECT 'Team ' || i FROM n;
  WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < ${TENANTS * ROWS} - 1)
    INSERT INTO tasks SELECT i, 'Team ' || (i % ${TENANTS} + 1), hex(randomblob(50)) FROM n;
  INSERT INTO marks SELECT id, id FROM tasks WHERE id % 3 = 0;`;

it('makes each tenant whole, and continues where it was killed', async () => {
  const { dataDir, args, split, source } = await sourceWith(TEAMS);
  const look = await split('--json');
  expect(look.code, look.stderr).toBe(0);
  expect(existsSync(dataDir)).toBe(false);
  expect(parseJson(look)).toMatchObject({
    applied: false,
    tables: [{ name: 'marks' }, { name: 'tasks', rows: TENANTS * ROWS, leftOut: 0 }, { name: 'teams' }],
  });

  const killed = await spawnProcess(process.execPath, [CLI_MAIN, ...args('--apply', '--jobs', '1')], {
    env: withoutSettings(),
  });
  await waitFor(() => existsSync(tenantFile(dataDir, 'team-1')), { what: 'the first tenant' });
  killed.kill('SIGKILL');
  await killed.exited;

  const rest = await split('--apply', '--json');
  expect(rest.code, rest.stderr).toBe(0);
  const { tenants } = parseJson(rest);
  expect(tenants).toHaveLength(TENANTS);
  const before = tenants.filter(({ state }: { state: string }) => state === 'done');
  expect(before.length).toBeGreaterThan(0);
  expect(before.length).toBeLessThan(TENANTS);
  const files = tenants.map(({ tenant }: { tenant: string }) => tenantFile(dataDir, tenant));
  expect(files.flatMap((file: string) => read(file, 'SELECT count(*) FROM tasks'))).toEqual(
    new Array(TENANTS).fill(ROWS),
  );
  const marks = files.flatMap((file: string) => read(file, 'SELECT n FROM marks JOIN tasks ON id = task'));
  expect(marks.sort((one: number, other: number) => one - other)).toEqual(
    read(source, 'SELECT n FROM marks ORDER BY n'),
  );

  const again = await split('--apply');
  expect(again.code, again.stderr).toBe(0);
  expect(again.stdout).toMatch(/0 of 60 tenants made; 60 were there from an earlier run/);
});

it('refuses by name what is unclear, before anything is made', async () => {
  const { dataDir, split } = await sourceWith(
    `${TEAMS} CREATE TABLE plans(a); INSERT INTO tasks VALUES (-1, NULL, 'lost'); INSERT INTO teams VALUES ('team-1')`,
  );
  const unclear = await split('--apply');
  expect(unclear.code).toBe(1);
  expect(unclear.stdout).toMatch(/Table plans has no column .* leads to a tenant\.\n +→ Say it: --shared/);
  const lost = await split('--shared', 'plans');
  expect(lost.code).toBe(3);
  expect(lost.stdout).toMatch(/1 rows of tasks have NULL in team/);
  expect(lost.stdout).toMatch(/id: Team 1 and team-1 would both be tenant team-1/);
  expect(existsSync(dataDir)).toBe(false);
});

it('adds to no tenant that is there, and takes ids from a file', async () => {
  const { folder, dataDir, split } = await sourceWith(
    "CREATE TABLE t(team, a); INSERT INTO t VALUES ('acme', 1), (7, 2)",
  );
  const names = join(folder, 'names.json');
  writeFileSync(names, '{"7": "seven"}');
  expect(await split('--apply', '--names', names)).toMatchObject({ code: 0 });
  expect(readdirSync(join(dataDir, 'tenants')).sort()).toEqual(['acme', 'seven']);
  change(join(folder, 'all.db'), "INSERT INTO t VALUES ('acme', 3)");
  const taken = await split('--apply', '--names', names);
  expect(taken.code).toBe(1);
  expect(taken.stdout).toMatch(/Tenant acme has a file already/);
  expect(read(tenantFile(dataDir, 'acme'), 'SELECT a FROM t')).toEqual([1]);
});

it('refuses options that would have no effect', async () => {
  const { split, source } = await sourceWith('CREATE TABLE t(team)');
  expect(await split('--table', 't')).toMatchObject({ code: 2 });
  expect(await runCli(['import', 'acme', source, '--shared', 't'])).toMatchObject({ code: 2 });
  expect(await runCli(['import', source])).toMatchObject({ code: 2 });
});
