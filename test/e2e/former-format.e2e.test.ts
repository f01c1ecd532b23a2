import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import {
  FORMER_TABLE_PREFIX,
  INTERNAL_TABLE_PREFIX,
  NEWEST_COMMIT_SEQ_SQL,
  tenantFile,
  withReservedNames,
} from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { startRedis, startService, TEST_TOKEN_SECRET, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';
import { columnInFile } from './tenant-file.ts';

const FORMER = ['_onewriter_ledger', '_onewriter_state'];
const CURRENT = ['sqlite_onewriter_ledger', 'sqlite_onewriter_state'];
const TABLES = `SELECT name FROM sqlite_schema WHERE name LIKE '%onewriter\\_state' ESCAPE '\\'
  OR name LIKE '%onewriter\\_ledger' ESCAPE '\\' ORDER BY 1`;

/** Makes a file of the present format one of format 2, as brokers before it wrote it. */
function makeFormat2(path: string): void {
  const db = new Database(path, { fileMustExist: true });
  const former = (column: string) =>
    `${column} = replace(${column}, '${INTERNAL_TABLE_PREFIX}', '${FORMER_TABLE_PREFIX}')`;
  db.exec('BEGIN IMMEDIATE');
  withReservedNames(db, () =>
    db.exec(`UPDATE sqlite_schema SET ${['name', 'tbl_name', 'sql'].map(former).join(', ')}
      WHERE substr(tbl_name, 1, ${INTERNAL_TABLE_PREFIX.length}) = '${INTERNAL_TABLE_PREFIX}'`),
  );
  db.exec('DROP TABLE _onewriter_needs_a_newer_broker; UPDATE _onewriter_state SET format = 2; COMMIT');
  db.close();
}

it('are read by every way, and the first write brings a file over with all that it knows', async () => {
  await using redis = await startRedis();
  await using data = await temporaryDirectory('former-format');
  const services = { redisUrl: redis.url, dataDir: data.path };
  let broker = await startService('broker', services);
  onTestFinished(async () => void (await broker.stop()));
  const app = await connect({ redis: redis.url, dataDir: data.path });
  onTestFinished(() => app.close({ timeoutMs: 100 }));
  for (const tenant of ['acme', 'other']) {
    await app.tenant(tenant).exec('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
  }
  const write = () =>
    app.tenant('acme').enqueue('INSERT INTO t(a) VALUES (?)', [1], { idempotencyKey: 'order-7' });
  const receipt = await write();
  const { commitSeq } = await receipt.committed();
  await broker.stop();
  for (const tenant of ['acme', 'other']) makeFormat2(tenantFile(data.path, tenant));

  const gateway = await startService('gateway', services);
  onTestFinished(async () => void (await gateway.stop()));
  const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  const get = async (path: string) => {
    const response = await fetch(gateway.url + path, { headers: { authorization: `Bearer ${token}` } });
    return { status: response.status, body: await response.json() };
  };
  const later = await connect({ redis: redis.url, dataDir: data.path });
  onTestFinished(() => later.close());
  expect((await later.tenant('acme').receipt(receipt.id).committed()).commitSeq).toBe(commitSeq);
  expect((await get('/v1/tenants/acme')).body).toMatchObject({ commitSeq, lastWrite: expect.any(String) });
  expect((await get('/info/acme')).body).toMatchObject({ synchronous: 2 });
  const env = { ONEWRITER_REDIS_URL: redis.url, ONEWRITER_DATA_DIR: data.path };
  const info = await runCli(['tenants', 'info', 'acme', '--json'], { env });
  expect(parseJson(info)).toMatchObject({ commitSeq, tables: ['t'] });
  const check = await runCli(['check', 'acme', '--json'], { env });
  expect(parseJson(check).findings.filter(({ level }: { level: string }) => level === 'error')).toEqual([]);
  const tail = runCli(['tail', 'acme', '--no-follow'], { env });
  expect(await tail).toMatchObject({ code: 0, stdout: expect.stringContaining('commit 2') });
  const dump = await fetch(`${gateway.url}/v1/tenants/acme/export?format=sql`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(await dump.text()).not.toContain('onewriter_');
  const [backup] = parseJson(await runCli(['backup', 'acme', '--json'], { env }));
  expect(backup.manifest).toMatchObject({ commitSeq, ledgerRows: 2 });
  const restoring = runCli(['restore', backup.path, 'copy', '--json'], { env });
  await waitFor(() => existsSync(tenantFile(data.path, 'copy')), { timeoutMs: 20_000, what: 'the copy' });
  expect(columnInFile(data.path, 'copy', TABLES)).toEqual(CURRENT);
  expect(columnInFile(data.path, 'acme', TABLES)).toEqual(FORMER);

  // The restore waits for one that writes the copy.
  broker = await startService('broker', services);
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  expect(parseJson(await restoring)).toMatchObject({ rows: 1, comparedWithManifest: true });
  // The retry of a write from before is still one.
  expect((await (await write()).committed()).commitSeq).toBe(commitSeq);
  expect(columnInFile(data.path, 'acme', TABLES)).toEqual(CURRENT);
  expect(await app.tenant('acme').prepare('INSERT INTO t(a) VALUES (2)').run()).toMatchObject({ changes: 1 });
  expect(await app.tenant('acme').prepare('SELECT a FROM t').all()).toEqual([{ a: 1 }, { a: 2 }]);
  expect((await get('/v1/tenants/acme')).body).toMatchObject({ commitSeq: expect.any(Number) });
  expect(columnInFile(data.path, 'other', TABLES)).toEqual(FORMER);
}, 90_000);

/** Statements until a file is brought over: BEGIN, five renames, the missing tables, COMMIT. */
const STATEMENTS = 8;

/** Takes the epoch of a file, and is killed before the statement with this number; behind the last, after it. */
const KILLED = `
  import Database from 'better-sqlite3';
  import { takeEpoch } from '@onewriter/writer';
  const db = new Database(process.env.FILE);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = 1');
  let statements = 0;
  db.exec = sql => {
    if (++statements === Number(process.env.AT)) process.kill(process.pid, 'SIGKILL');
    return Database.prototype.exec.call(db, sql);
  };
  takeEpoch(db, 9);
  if (statements < Number(process.env.AT)) process.kill(process.pid, 'SIGKILL');
  console.log('not killed');
`;

it('are whole, old or new, wherever the process that brings them over is killed', async () => {
  await using data = await temporaryDirectory('former-format-killed');
  for (let at = 1; at <= STATEMENTS + 1; at++) {
    const file = `${data.path}/${at}.db`;
    const db = new Database(file);
    takeEpoch(db, 3);
    db.exec(`CREATE TABLE t(a); INSERT INTO t VALUES (1);
      WITH RECURSIVE job(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM job WHERE id < 200)
      INSERT INTO sqlite_onewriter_ledger SELECT id, 'w-' || id, id, id, NULL, hex(zeroblob(500)) FROM job`);
    db.close();
    makeFormat2(file);
    const { signal, stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', KILLED], {
      env: { ...process.env, FILE: file, AT: String(at) },
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect([signal, stdout], `killed before statement ${at}`).toEqual(['SIGKILL', '']);

    const after = new Database(file);
    const names = after.prepare(TABLES).pluck().all();
    expect(names, `killed before statement ${at}`).toEqual(at > STATEMENTS ? CURRENT : FORMER);
    const epoch = after.prepare(`SELECT format, epoch FROM ${names[1]}`).raw().get();
    expect(epoch).toEqual(at > STATEMENTS ? [3, 9] : [2, 3]);
    expect(() => takeEpoch(after, 2)).toThrow(expect.objectContaining({ code: 'FENCED' }));
    takeEpoch(after, 10);
    expect(after.prepare(TABLES).pluck().all()).toEqual(CURRENT);
    expect(after.prepare(NEWEST_COMMIT_SEQ_SQL).pluck().get()).toBe(200);
    expect(after.prepare('SELECT a FROM t').pluck().all()).toEqual([1]);
    expect(after.pragma('integrity_check', { simple: true })).toBe('ok');
    after.close();
  }
});
