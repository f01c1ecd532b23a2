import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { restoreTenant } from '@onewriter/files';
import { CLI_MAIN, spawnProcess, temporaryDirectory, waitFor, withoutSettings } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';

/** SQLite needs most of a minute to look up the columns of the last one: each has the one before it twice. */
const VIEWS = [
  'CREATE VIEW v0 AS SELECT 1 AS a',
  ...Array.from({ length: 15 }, (_, n) => `CREATE VIEW v${n + 1} AS SELECT x.a FROM v${n} x, v${n} y`),
].join(';');

async function makeTenants(schemas: Readonly<Record<string, string>>): Promise<string> {
  const data = await temporaryDirectory('hostile-schema');
  onTestFinished(() => data.remove());
  for (const [tenant, schema] of Object.entries(schemas)) {
    const folder = join(data.path, 'tenants', tenant);
    mkdirSync(folder, { recursive: true });
    const db = new Database(join(folder, 'tenant.db'));
    db.exec(`CREATE TABLE t(a); INSERT INTO t VALUES (1); ${schema}`);
    db.close();
  }
  return data.path;
}

function start(dataDir: string, ...args: string[]) {
  return spawnProcess(process.execPath, [CLI_MAIN, ...args, '--data-dir', dataDir, '--json'], {
    env: { ...withoutSettings(), ONEWRITER_REDIS_URL: 'redis://127.0.0.1:1' },
  });
}

async function onewriter(dataDir: string, ...args: string[]) {
  const child = await start(dataDir, ...args);
  const { code } = await child.exited;
  return { code, result: JSON.parse(child.stdout()) };
}

async function failing(dataDir: string, ...args: string[]) {
  const child = await start(dataDir, ...args);
  const { code } = await child.exited;
  return { code, error: JSON.parse(child.stderr()).error };
}

it('check stops at the tenant whose schema takes too long, and checks the others', async () => {
  const dataDir = await makeTenants({ bad: VIEWS, good: '' });
  const alone = await onewriter(dataDir, 'check', 'bad', '--timeout', '3');
  expect(alone.code).toBe(3);
  const { code, result } = await onewriter(dataDir, 'check', '--all', '--jobs', '1', '--timeout', '3');
  expect(code).toBe(3);
  expect(result.tenants).toBe(2);
  expect(result.findings).toMatchObject([
    { tenant: 'bad', level: 'error', found: expect.stringMatching(/^STATEMENT_TIMEOUT .* longer than 3 s/) },
    { tenant: 'good', level: 'note' },
  ]);
});

it('backup stops at such a tenant, leaves no copy of it, and copies the others', async () => {
  const dataDir = await makeTenants({ bad: VIEWS, good: '' });
  const { code, result } = await onewriter(dataDir, 'backup', '--all', '--jobs', '1', '--timeout', '3');
  expect(code).toBe(1);
  expect(result).toMatchObject([
    { tenant: 'bad', path: null, error: { code: 'STATEMENT_TIMEOUT' } },
    { tenant: 'good', error: null },
  ]);
});

it('restore stops at a backup whose schema takes too long, and leaves nothing of it', async () => {
  const dataDir = await makeTenants({ bad: VIEWS, good: '' });
  const backup = join(dataDir, 'tenants', 'bad', 'tenant.db');
  const place = ['--offline', '--timeout', '3'];
  const { code, error } = await failing(dataDir, 'restore', backup, 'new', ...place);
  expect(code).toBe(1);
  expect(error).toMatchObject({
    code: 'STATEMENT_TIMEOUT',
    message: expect.stringMatching(/longer than 3 s/),
  });
  const replacing = await failing(dataDir, 'restore', backup, 'good', '--replace', ...place);
  expect(replacing.error.code).toBe('STATEMENT_TIMEOUT');
  expect(readdirSync(join(dataDir, 'tenants')).sort()).toEqual(['bad', 'good']);
  expect(readdirSync(join(dataDir, 'tenants', 'good'))).toEqual(['tenant.db']);
});

it('restore stops where numbering the copy takes too long, and nothing has changed', async () => {
  const dataDir = await makeTenants({ backup: '', good: '' });
  let processes = 0;
  const restoring = restoreTenant(
    { dataDir, group: 'default', dbFile: 'tenant.db', busyTimeoutMs: 1_000 },
    {
      ...{ backup: join(dataDir, 'tenants', 'backup', 'tenant.db'), tenant: 'good', replace: true },
      ...{ leavePaused: false, redis: undefined, who: 'test' },
      // The first stages the copy.
      limits: { timeoutMs: () => (processes++ === 0 ? 60_000 : 1), memoryBytes: 512 * 1024 * 1024 },
    },
  );
  await expect(restoring).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' });
  expect(processes).toBe(2);
  expect(readdirSync(join(dataDir, 'tenants', 'good'))).toEqual(['tenant.db']);
});

it('restore stops at Ctrl-C while it checks the backup, and nothing has changed', async () => {
  const dataDir = await makeTenants({ bad: VIEWS, good: '' });
  const backup = join(dataDir, 'tenants', 'bad', 'tenant.db');
  const child = await start(dataDir, 'restore', backup, 'good', '--replace', '--offline');
  const staged = () =>
    readdirSync(join(dataDir, 'tenants', 'good')).some(name => name.includes('.restoring-'));
  await waitFor(staged, { timeoutMs: 20_000 });
  child.kill('SIGINT');
  expect((await child.exited).code).toBe(1);
  expect(JSON.parse(child.stderr())).toMatchObject({ error: { code: 'ABORTED' } });
  expect(readdirSync(join(dataDir, 'tenants', 'good'))).toEqual(['tenant.db']);
});
