import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Client, createClient, type InValue } from '@libsql/client';
import { signToken } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { startRedis, startService, TEST_TOKEN_SECRET, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CannotInject } from '../faults/fault-failure.ts';
import { must, needProgram, needRoot } from '../faults/machine.ts';
import { parseJson, runCli } from './cli-run.ts';

/*
 * A data directory on a network file system: only the broker opens files, and has each to itself. Once by the setting, which needs
 * nothing of the machine; once by a FUSE mount, which all processes have to recognise.
 */

const SETTING = { ONEWRITER_DATA_DIR_KIND: 'network' };
/** Where no lock will be free, waiting for it is of no use. */
const BUSY = { ONEWRITER_BUSY_TIMEOUT_MS: '200' };

/** A folder that its mount calls sshfs: to all processes it is on a network. @throws CannotInject */
async function mountAsNetwork(): Promise<string> {
  needRoot('A FUSE mount');
  await needProgram('bindfs', 'bindfs');
  await needProgram('fusermount3', 'fuse3');
  const place = await temporaryDirectory('network-files');
  onTestFinished(() => place.remove());
  const [files, mounted] = [join(place.path, 'files'), join(place.path, 'mounted')];
  mkdirSync(files);
  mkdirSync(mounted);
  await must('bindfs', '-o', 'subtype=sshfs', files, mounted);
  onTestFinished(async () => void (await must('fusermount3', '-u', mounted)));
  return mounted;
}

async function startStack(dataDir: string, env: Readonly<Record<string, string>>) {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const start = async (name: 'broker' | 'gateway') => {
    const service = await startService(name, { redisUrl: redis.url, dataDir, env: { ...BUSY, ...env } });
    onTestFinished(async () => void (await service.stop()));
    return service;
  };
  await start('broker');
  const gateway = await start('gateway');
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  const said: string[] = [];
  const logger = { warn: (_: object, message: string) => said.push(message), error: () => {} };
  const reads = env['ONEWRITER_DATA_DIR_KIND'] === undefined ? undefined : 'owner';
  const client = await connect({ redis: redis.url, dataDir, logger, reads });
  onTestFinished(() => client.close());
  const admin = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  const send = (path: string, body?: object) =>
    fetch(`${gateway.url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const ask = async (path: string, body?: object) => {
    const response = await send(path, body);
    // biome-ignore lint/suspicious/noExplicitAny: tests look at what is there
    return [response.status, JSON.parse(await response.text()) as any] as const;
  };
  const lines = async (path: string, body: object) =>
    (await (await send(path, body)).text())
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
  const libsql = async (access: 'read' | 'write', tenant: string): Promise<Client> => {
    const authToken = await signToken(TEST_TOKEN_SECRET, { tenants: [tenant], access });
    const opened = createClient({ url: `${gateway.url}/t/${tenant}/`, authToken });
    onTestFinished(() => opened.close());
    return opened;
  };
  const cli = (...args: string[]) =>
    runCli(args, {
      env: {
        ...BUSY,
        ...env,
        ONEWRITER_REDIS_URL: redis.url,
        ONEWRITER_DATA_DIR: dataDir,
        ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET,
      },
    });
  return { gateway, client, said, ask, lines, libsql, cli };
}

async function startWithSetting() {
  const data = await temporaryDirectory('network-setting');
  onTestFinished(() => data.remove());
  return await startStack(data.path, SETTING);
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );

it('is recognised by a mount: apps, gateway and commands read through the broker, and say why', async ctx => {
  const dataDir = await mountAsNetwork().catch((error: unknown) => {
    if (error instanceof CannotInject) return ctx.skip(error.message);
    throw error;
  });
  const { gateway, client, said, ask, libsql, cli } = await startStack(dataDir, {});
  expect(gateway.logs()).toMatch(/network file system, where only the broker may open files/);
  expect(client.readRoute).toBe('owner');
  expect(said).toEqual([expect.stringMatching(/is on fuse\.sshfs, .* reading through the owner$/)]);
  const db = client.tenant('acme');
  await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')");
  const select = 'SELECT v FROM t ORDER BY id';
  expect(await db.prepare(select).all()).toEqual([{ v: 'one' }]);
  expect(await ask('/v1/tenants/acme/query', { sql: select })).toMatchObject([200, { rows: [{ v: 'one' }] }]);
  expect((await (await libsql('read', 'acme')).execute(select)).rows).toMatchObject([{ v: 'one' }]);
  expect(parseJson(await cli('sql', 'acme', select, '--json'))).toMatchObject({ rows: [['one']] });
  expect((await ask('/v1/tenants/acme/export?format=sql'))[1]).toMatchObject({
    error: { code: 'FILE_IN_USE' },
  });
  expect((await cli('tenants', 'pause', 'acme')).code).toBe(0);
  expect(parseJson(await cli('check', 'acme', '--json'))).toMatchObject({ errors: 0, warnings: 0 });
});

describe('where only the broker opens files', () => {
  it('clients of libSQL read on one state, also with a token that only reads', async () => {
    const { client, libsql } = await startWithSetting();
    const reader = await libsql('read', 'acme');
    const writer = await libsql('write', 'acme');
    const names = 'SELECT name FROM sqlite_schema';
    expect(await codeOf(reader.execute(names))).toBe('ok');
    expect((await writer.execute(names)).rows).toEqual([]);
    await writer.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, r REAL, v TEXT)');
    const insert = (id: number, v: InValue) => ({ sql: 'INSERT INTO t VALUES (?, 2, ?)', args: [id, v] });
    await writer.batch([insert(1, 'one'), insert(2, null)], 'write');
    const all = 'SELECT id, r, v, r + 1 AS s FROM t ORDER BY id';
    const { columns, columnTypes, rows } = await reader.execute(all);
    expect([columns, columnTypes]).toEqual([
      ['id', 'r', 'v', 's'],
      ['INTEGER', 'REAL', 'TEXT', ''],
    ]);
    expect(rows).toMatchObject([
      { id: 1, r: 2, v: 'one', s: 3 },
      { id: 2, v: null },
    ]);
    const [one, two] = await reader.batch([{ sql: 'SELECT v FROM t WHERE id = ?', args: [1] }, all], 'read');
    expect([one!.rows.length, two!.rows.length]).toEqual([1, 2]);
    expect(await codeOf(reader.execute('DELETE FROM t'))).not.toBe('ok');
    expect(await codeOf(reader.execute('SELECT nothing FROM t'))).toBe('SQL_PARSE_ERROR');

    // A transaction over several requests has no snapshot: it reads one state, or fails.
    const tx = await reader.transaction('read');
    expect((await tx.execute(all)).rows).toHaveLength(2);
    expect((await tx.execute(all)).rows).toHaveLength(2);
    expect(await codeOf(tx.execute("INSERT INTO t VALUES (3, 3, 'three')"))).not.toBe('ok');
    await writer.execute(insert(3, 'three'));
    expect(await codeOf(tx.execute(all))).toBe('SQLITE_BUSY');
    await tx.rollback();
    expect((await reader.execute(all)).rows).toHaveLength(3);

    // It goes on in the writer, on the state that it has read.
    const fresh = await writer.transaction('deferred');
    expect((await fresh.execute(all)).rows).toHaveLength(3);
    await fresh.execute(insert(4, 'four'));
    await fresh.commit();
    const late = await writer.transaction('deferred');
    await late.execute(all);
    await client.tenant('acme').prepare("INSERT INTO t VALUES (5, 5, 'five')").run();
    expect(await codeOf(late.execute(insert(6, 'six')))).toBe('SQLITE_BUSY');
    await late.rollback();
    expect((await reader.execute('SELECT max(id) AS id FROM t')).rows).toMatchObject([{ id: 5 }]);
    await reader.executeMultiple('SELECT 1; SELECT v FROM t WHERE id = 1');
  });

  it('a pipeline, a description and a cursor are answered as from the file', async () => {
    const { client, ask, lines } = await startWithSetting();
    await client.tenant('acme').exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
    await client.tenant('acme').exec("INSERT INTO t VALUES (1, 'one'), (2, 'two')");
    const stmt = { sql: 'SELECT v FROM t WHERE id = ?', args: [{ type: 'integer', value: '2' }] };
    for (const version of ['v2', 'v3']) {
      const [status, { results }] = await ask(`/t/acme/${version}/pipeline`, {
        requests: [
          { type: 'execute', stmt },
          { type: 'describe', sql: 'INSERT INTO t VALUES (?, ?)' },
          { type: 'describe', sql: stmt.sql },
          { type: 'execute', stmt: { sql: 'PRAGMA foreign_keys' } },
          { type: 'close' },
        ],
      });
      expect([status, results]).toMatchObject([
        200,
        [
          { response: { result: { rows: [[{ value: 'two' }]], cols: [{ name: 'v', decltype: 'TEXT' }] } } },
          { response: { result: { is_readonly: false, params: [{}, {}] } } },
          { response: { result: { is_readonly: true, cols: [{ name: 'v', decltype: 'TEXT' }] } } },
          { response: { result: { rows: [[{ value: '1' }]] } } },
          { type: 'ok' },
        ],
      ]);
    }
    const batch = { steps: [{ stmt }, { stmt: { sql: 'SELECT nothing' } }] };
    expect(await lines('/t/acme/v3/cursor', { batch })).toMatchObject([
      { baton: expect.any(String) },
      { type: 'step_begin', step: 0, cols: [{ name: 'v' }] },
      { type: 'row', row: [{ value: 'two' }] },
      { type: 'step_end' },
      { type: 'step_error', step: 1 },
    ]);
  });

  it('views and virtual tables are described, and drop-in reads answered', async () => {
    const { client, ask } = await startWithSetting();
    await client
      .tenant('acme')
      .exec(
        'CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE VIEW w AS SELECT id, v FROM t; CREATE VIRTUAL TABLE f USING fts5(a); CREATE VIEW gone AS SELECT * FROM nowhere',
      );
    await client.tenant('acme').exec("INSERT INTO t VALUES (1, 'one')");
    const [, { tables }] = await ask('/v1/tenants/acme/schema');
    expect(
      Object.fromEntries(
        tables.map((table: { name: string; error: string | null; columns: { name: string }[] }) => [
          table.name,
          table.error ?? table.columns.map(({ name }) => name),
        ]),
      ),
    ).toMatchObject({
      ...{ t: ['id', 'v'], w: ['id', 'v'], f: ['a', 'f', 'rank'] },
      gone: expect.stringContaining('nowhere'),
    });
    const query = 'SELECT v FROM t';
    expect(await ask('/query', { tenantId: 'acme', query, params: [] })).toMatchObject([
      200,
      { result: [{ v: 'one' }] },
    ]);
    expect(await ask('/v1/tenants/acme/query', { sql: 'SELECT v FROM w' })).toMatchObject([
      200,
      { rows: [{ v: 'one' }] },
    ]);
  });

  it('what needs the file itself says so with a code, and is done while the tenant is paused', async () => {
    const { client, ask, cli } = await startWithSetting();
    await client.tenant('acme').exec('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)');
    const inUse = expect.objectContaining({
      code: 'FILE_IN_USE',
      message: expect.stringContaining('pause acme'),
    });
    for (const format of ['sql', 'sqlite', 'ndjson']) {
      expect(await ask(`/v1/tenants/acme/export?format=${format}`)).toMatchObject([409, { error: inUse }]);
    }
    expect(await ask('/info/acme?check=full')).toMatchObject([409, { code: 'FILE_IN_USE' }]);
    const checked = await cli('check', 'acme', '--json');
    expect([checked.code, parseJson(checked)]).toMatchObject([
      0,
      {
        errors: 0,
        warnings: 1,
        findings: [{ check: 'readable', found: expect.stringContaining('FILE_IN_USE') }],
      },
    ]);
    const backup = await cli('backup', 'acme');
    expect([backup.code, backup.stderr]).toEqual([1, expect.stringContaining('FILE_IN_USE')]);
    expect(parseJson(await cli('sql', 'acme', 'SELECT id FROM t', '--json'))).toMatchObject({ rows: [[1]] });
    const doctor = await cli('doctor');
    expect(doctor.stdout).toMatch(/reads.*the broker alone opens files/);

    expect((await cli('tenants', 'pause', 'acme')).code).toBe(0);
    expect(parseJson(await cli('check', 'acme', '--json'))).toMatchObject({ errors: 0, warnings: 0 });
    expect((await cli('backup', 'acme')).code).toBe(0);
    expect((await cli('tenants', 'resume', 'acme')).code).toBe(0);
    await client.tenant('acme').exec('INSERT INTO t VALUES (2)');
    expect(await client.tenant('acme').prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 2 });
  });
});
