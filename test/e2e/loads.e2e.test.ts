import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { tenantFile, trashDir } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { TEST_TOKEN_SECRET, waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DIALECTS } from '../dumps/dialects.ts';
import { type CliResult, parseJson, runCli } from './cli-run.ts';
import { type GatewayServices, startGatewayServices } from './services.ts';

let services: GatewayServices;
beforeAll(async () => {
  services = await startGatewayServices('loads');
});
afterAll(() => services?.stop());

let tenants = 0;
const newName = () => `ld-${++tenants}`;
const tokenFor = async (access: 'write' | 'admin') =>
  `Bearer ${await signToken(TEST_TOKEN_SECRET, { tenants: '*', access })}`;

/** A file outside of the data directory's tenants. */
function fileOf(name: string, content: string | Buffer): string {
  const path = join(services.data.path, name);
  writeFileSync(path, content);
  return path;
}

function load(args: readonly string[], url: string = services.gateway.url): Promise<CliResult> {
  const env = {
    ONEWRITER_DATA_DIR: services.data.path,
    ONEWRITER_REDIS_URL: services.redis.url,
    ONEWRITER_GATEWAY_URL: url,
    ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET,
  };
  return runCli(['import', ...args], { env });
}

async function post(
  path: string,
  body: string | ReadableStream<Uint8Array>,
  options: { type?: string; access?: 'write' | 'admin'; signal?: AbortSignal } = {},
): Promise<Response> {
  const { type = 'application/sql', access = 'write', signal } = options;
  return fetch(`${services.gateway.url}/v1/tenants/${path}`, {
    method: 'POST',
    headers: { authorization: await tokenFor(access), 'content-type': type },
    body,
    duplex: 'half',
    ...(signal === undefined ? {} : { signal }),
  } as RequestInit);
}

async function lastEvent(response: Response) {
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return JSON.parse(text.trimEnd().split('\n').at(-1)!);
}

function rowsOf(tenant: string, sql: string): unknown[] {
  const db = new Database(tenantFile(services.data.path, tenant), { readonly: true });
  try {
    return db.prepare(sql).raw().all();
  } finally {
    db.close();
  }
}

/** What a load leaves beside a tenant's file and in the trash, where it ends early. */
function leftovers(tenant: string): string[] {
  const folder = dirname(tenantFile(services.data.path, tenant));
  const beside = existsSync(folder) ? readdirSync(folder).filter(name => name.includes('.restoring-')) : [];
  const trash = trashDir(services.data.path);
  return [...beside, ...(existsSync(trash) ? readdirSync(trash) : []).filter(name => name.includes(tenant))];
}

describe('a dump', () => {
  it.each(Object.entries(DIALECTS))('of %s makes a tenant, packed or not', async (_, sql) => {
    for (const path of [fileOf('dump.sql', sql), fileOf('dump.sql.gz', gzipSync(sql))]) {
      const tenant = newName();
      const result = await load([tenant, path, '--json']);
      expect(parseJson(result), result.stderr).toMatchObject({
        outcome: 'done',
        foreignKeyViolations: 0,
        replaced: null,
      });
      expect(result.code).toBe(0);
      expect(rowsOf(tenant, 'SELECT name FROM users ORDER BY id')).toEqual([['Ada'], ['Bob']]);
      expect(rowsOf(tenant, 'SELECT author, title FROM posts')).toEqual([[1, "It's; here"]]);
      // The broker writes it, and its readers read it.
      await services.client
        .tenant(tenant)
        .prepare('INSERT INTO posts(author, title) VALUES (?, ?)')
        .run(2, 'new');
      expect(await services.client.tenant(tenant).prepare('SELECT count(*) AS n FROM posts').get()).toEqual({
        n: 2,
      });
    }
  });

  it('is added to what a tenant has, in one transaction; its writes wait for it', async () => {
    const tenant = services.client.tenant(newName());
    await tenant.exec('CREATE TABLE log(n INTEGER PRIMARY KEY)');
    const first = await tenant.prepare('INSERT INTO log VALUES (?)').run(0);
    const rows = Array.from(
      { length: 50_000 },
      (_, n) => `INSERT INTO big VALUES(${n},'${'x'.repeat(50)}');`,
    );
    const dump = `BEGIN;CREATE TABLE big(n INTEGER PRIMARY KEY, v TEXT);${rows.join('\n')}COMMIT;`;
    const loading = post(`${tenant.id}/load?name=big.sql`, dump).then(lastEvent);
    const commits: number[] = [];
    let loaded = false;
    void loading
      .catch(() => {})
      .finally(() => {
        loaded = true;
      });
    for (let n = 1; !loaded; n++)
      commits.push((await tenant.prepare('INSERT INTO log VALUES (?)').run(n)).commitSeq);
    const done = await loading;
    expect(done).toMatchObject({ event: 'done', statements: 50_003, tables: 2 });
    expect(done.rows).toBeGreaterThanOrEqual(50_001);
    // All writes before it and after it are there, numbered around it.
    expect(commits.length).toBeGreaterThan(0);
    expect(rowsOf(tenant.id, 'SELECT count(*) FROM log')).toEqual([[commits.length + 1]]);
    expect(done.commitSeq).toBeGreaterThan(first.commitSeq);
    expect(commits).not.toContain(done.commitSeq);
    expect(rowsOf(tenant.id, 'SELECT count(*) FROM big')).toEqual([[50_000]]);
  });

  it('is loaded once by a command that is run again, because its answer was lost', async () => {
    const tenant = services.client.tenant(newName());
    await tenant.exec('CREATE TABLE t(n)');
    const path = fileOf('rows.sql', 'BEGIN; INSERT INTO t VALUES (1), (2); COMMIT;');
    const first = parseJson(await load([tenant.id, path, '--json']));
    expect(first).toMatchObject({ outcome: 'done', rows: 2, loadedBefore: false });
    const inode = () => statSync(tenantFile(services.data.path, tenant.id)).ino;
    const placed = inode();
    const again = await load([tenant.id, path, '--json']);
    expect(parseJson(again), again.stderr).toMatchObject({
      ...{ outcome: 'done', rows: 2, statements: 3, loadedBefore: true, commitSeq: first.commitSeq },
    });
    expect(inode()).toBe(placed);
    expect((await load([tenant.id, path])).stdout).toMatch(/loaded into .* before.*\n.*--idempotency-key/);
    // In steps it would be applied again, too.
    expect((await load([tenant.id, path, '--resume'])).stderr).toMatch(/IDEMPOTENCY_KEY_REUSED/);
    await load([tenant.id, path, '--idempotency-key', 'once-more']);
    expect(rowsOf(tenant.id, 'SELECT count(*) FROM t')).toEqual([[4]]);
  });

  it('has an unknown outcome where the gateway goes away without an answer', async () => {
    const path = fileOf('lost.sql', 'CREATE TABLE t(n);');
    const gone = createServer(request => {
      request.resume().on('end', () => request.socket.destroy());
    });
    await new Promise<void>(resolve => gone.listen(0, '127.0.0.1', resolve));
    const { port } = gone.address() as AddressInfo;
    const result = await load(['lost', path, '--json'], `http://127.0.0.1:${port}`);
    await new Promise(resolve => gone.close(resolve));
    expect(result.code).toBe(1);
    expect(parseJson(result)).toMatchObject({ outcome: 'failed', error: { code: 'OUTCOME_UNKNOWN' } });
  });

  it('that fails changes nothing, and names its line', async () => {
    const tenant = services.client.tenant(newName());
    await tenant.exec('CREATE TABLE t(n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)');
    const inode = statSync(tenantFile(services.data.path, tenant.id)).ino;
    const path = fileOf(
      'bad.sql',
      'CREATE TABLE u(a);\nINSERT INTO t VALUES(2);\nINSERT INTO t VALUES(1);\n',
    );
    const result = await load([tenant.id, path]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/Line 3: UNIQUE constraint failed/);
    expect(statSync(tenantFile(services.data.path, tenant.id)).ino).toBe(inode);
    expect(rowsOf(tenant.id, 'SELECT n FROM t')).toEqual([[1]]);
    expect(rowsOf(tenant.id, "SELECT 1 FROM sqlite_schema WHERE name = 'u'")).toEqual([]);
    expect(leftovers(tenant.id)).toEqual([]);
    await tenant.prepare('INSERT INTO t VALUES (2)').run();
    const unknown = newName();
    expect((await load([unknown, path])).code).toBe(1);
    expect(existsSync(dirname(tenantFile(services.data.path, unknown)))).toBe(false);
  });

  it('takes the place of what a tenant has, which keeps its ledger', async () => {
    const tenant = services.client.tenant(newName());
    await tenant.exec('CREATE TABLE t(n); CREATE TABLE old(n)');
    const once = { idempotencyKey: 'once' };
    const written = await tenant.execute('INSERT INTO t VALUES (1)', [], once);
    const receipt = await tenant.enqueue('INSERT INTO t VALUES (2)');
    await receipt.committed();
    const path = fileOf('new.sql', 'CREATE TABLE t(n);');
    const result = await load([tenant.id, path, '--replace', '--json']);
    const report = parseJson(result);
    expect(report, result.stderr).toMatchObject({ outcome: 'done', rows: 0, tables: 1 });
    expect(existsSync(report.replaced)).toBe(true);
    expect(report.commitSeq).toBeGreaterThan(written.commitSeq!);
    // Applied once, although what it wrote is gone.
    const again = await tenant.execute('INSERT INTO t VALUES (1)', [], once);
    expect(again.commitSeq).toBe(written.commitSeq);
    await tenant.receipt(receipt.id).committed({ timeoutMs: 5_000 });
    expect(rowsOf(tenant.id, 'SELECT * FROM t')).toEqual([]);
    // A reader that had the old file open reads the new one.
    await expect(tenant.prepare('SELECT * FROM old').all()).rejects.toThrowError(/no such table/);
  });
});

describe('a database file', () => {
  it('makes a tenant, with a ledger of its own, and takes the place of one with --replace', async () => {
    const source = services.client.tenant(newName());
    await source.exec(
      'CREATE TABLE t(n); INSERT INTO t VALUES (1), (2); CREATE TRIGGER tr AFTER DELETE ON t BEGIN SELECT 1; END',
    );
    const path = join(services.data.path, 'source.db');
    const copy = new Database(tenantFile(services.data.path, source.id), { readonly: true });
    await copy.backup(path);
    copy.close();
    const tenant = services.client.tenant(newName());
    const made = parseJson(await load([tenant.id, path, '--json']));
    expect(made).toMatchObject({ outcome: 'done', rows: 2, tables: 1, commitSeq: 1 });
    expect(made.warnings.join()).toMatch(/left out: Onewriter's own tables/);
    await tenant.prepare('INSERT INTO t VALUES (3)').run();
    expect(parseJson(await load([tenant.id, path, '--json']))).toMatchObject({ loadedBefore: true, rows: 2 });
    const refused = await load([tenant.id, path, '--idempotency-key', 'another']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/has a file already.*--replace/);
    expect(parseJson(await load([tenant.id, path, '--replace', '--json']))).toMatchObject({
      outcome: 'done',
      rows: 2,
    });
    expect(rowsOf(tenant.id, 'SELECT n FROM t')).toEqual([[1], [2]]);
  });

  it('is refused where it is damaged, is none, or has a trigger on the ledger', async () => {
    const path = join(services.data.path, 'forged.db');
    const db = new Database(path);
    db.exec(
      'CREATE TABLE t(n); CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM _onewriter_ledger; END',
    );
    db.close();
    const tenant = newName();
    expect((await load([tenant, path])).stderr).toMatch(/tr: .*belong to the writer/);
    const whole = readFileSync(path);
    expect((await load([tenant, fileOf('cut.db', whole.subarray(0, 5_000))])).stderr).toMatch(
      /cut off|damaged|malformed/,
    );
    expect((await load([tenant, fileOf('text.db', 'SELECT 1;')])).stderr).toMatch(
      /it is (SQL text|no SQLite database)/,
    );
    expect(existsSync(tenantFile(services.data.path, tenant))).toBe(false);
    expect(leftovers(tenant)).toEqual([]);
  });
});

describe('a load that is stopped', () => {
  /** A dump that never ends, until its reader goes away. */
  const endless = (onRow: (n: number) => void) => {
    let n = 0;
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        // Microtasks alone would keep all else from running.
        await new Promise(resolve => setImmediate(resolve));
        const rows = Array.from({ length: 500 }, () => `INSERT INTO t VALUES(${++n},'${'x'.repeat(100)}');`);
        controller.enqueue(new TextEncoder().encode(rows.join('\n')));
        onRow(n);
      },
    });
  };

  it('leaves nothing where its caller goes away', async () => {
    const tenant = newName();
    const gone = new AbortController();
    const body = endless(n => n > 20_000 && gone.abort());
    await expect(
      post(`${tenant}/load`, body, { signal: gone.signal }).then(lastEvent),
    ).rejects.toThrowError();
    await waitFor(async () => leftovers(tenant).length === 0, { what: 'the scratch folder to go' });
    expect(existsSync(tenantFile(services.data.path, tenant))).toBe(false);
  });

  it('is an operation, and leaves the tenant as it was where that is cancelled', async () => {
    const tenant = services.client.tenant(newName());
    await tenant.exec('CREATE TABLE t(n INTEGER PRIMARY KEY, v)');
    // A statement that takes minutes: in the process, while the tenant is held.
    const dump =
      'INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1e12) SELECT n, n FROM c;';
    const loading = post(`${tenant.id}/load?name=slow.sql`, dump).then(lastEvent);
    const authorization = await tokenFor('admin');
    const operation = await waitFor(
      async () => {
        const response = await fetch(`${services.gateway.url}/v1/operations?state=running`, {
          headers: { authorization },
        });
        const { operations } = (await response.json()) as {
          operations: { id: string; tenants: string[]; unit: string }[];
        };
        return operations.find(({ tenants: named }) => named?.includes(tenant.id));
      },
      { what: 'the operation to be listed', timeoutMs: 20_000 },
    );
    expect(operation).toMatchObject({ kind: 'import', detail: 'slow.sql', progress: { unit: 'bytes' } });
    await fetch(`${services.gateway.url}/v1/operations/${operation!.id}/cancel`, {
      method: 'POST',
      headers: { authorization },
    });
    expect(await loading).toMatchObject({ event: 'failed', error: { code: 'ABORTED' } });
    expect(leftovers(tenant.id)).toEqual([]);
    await tenant.prepare('INSERT INTO t VALUES (1, 1)').run();
    expect(rowsOf(tenant.id, 'SELECT count(*) FROM t')).toEqual([[1]]);
  });
});

describe('a dump in steps', () => {
  const dump = (rows: number) =>
    `PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(n INTEGER PRIMARY KEY);\n${Array.from(
      { length: rows },
      (_, n) => `INSERT INTO t VALUES(${n});\n`,
    ).join('')}CREATE INDEX t_n ON t(n);\nCOMMIT;\n`;

  it('is continued by the same command, and applies each statement once', async () => {
    const tenant = services.client.tenant(newName());
    const path = fileOf('steps.sql', dump(3_000));
    // What an interrupted command leaves: the first half, under the key of the whole file.
    const [whole, half] = [readFileSync(path), dump(3_000).split('\n').slice(0, 1_500).join('\n')];
    const { createHash } = await import('node:crypto');
    const key = `load-${createHash('sha256').update(whole).digest('hex')}`;
    const response = await fetch(`${services.gateway.url}/v1/tenants/${tenant.id}/import`, {
      method: 'POST',
      headers: {
        authorization: await tokenFor('write'),
        'content-type': 'application/sql',
        'idempotency-key': key,
      },
      body: half.replace('BEGIN TRANSACTION;', ''),
    });
    expect(await lastEvent(response)).toMatchObject({ event: 'done', accepted: 1_498 });
    const result = await load([tenant.id, path, '--resume', '--json']);
    const first = parseJson(result);
    expect(first, result.stderr).toMatchObject({
      outcome: 'done',
      skipped: 1_498,
      accepted: 1_504,
      rejected: 0,
    });
    expect(parseJson(await load([tenant.id, path, '--resume', '--json']))).toMatchObject({
      skipped: 3_002,
      accepted: 0,
    });
    expect(rowsOf(tenant.id, 'SELECT count(*) FROM t')).toEqual([[3_000]]);
    expect(rowsOf(tenant.id, "SELECT name FROM sqlite_schema WHERE type = 'index' AND name = 't_n'")).toEqual(
      [['t_n']],
    );
  });

  it('ends with the statement that is refused, and refuses what needs the whole', async () => {
    const tenant = newName();
    const path = fileOf(
      'wrong.sql',
      'CREATE TABLE t(n UNIQUE);\nINSERT INTO t VALUES(1);\nINSERT INTO t VALUES(1);\nCREATE TABLE u(n);',
    );
    const result = await load([tenant, path, '--resume']);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/CONSTRAINT_VIOLATION Line 3: UNIQUE/);
    expect(rowsOf(tenant, "SELECT name FROM sqlite_schema WHERE name = 'u'")).toEqual([]);
    const rebuild = fileOf('rebuild.sql', 'PRAGMA foreign_keys=OFF;\nDROP TABLE t;');
    expect((await load([tenant, rebuild, '--resume'])).stderr).toMatch(/Line 2: .*cannot be loaded in steps/);
  });
});

it.each([
  ['a database', 'load', 'application/vnd.sqlite3'],
  ['a dump that replaces', 'load?replace=true', 'application/sql'],
])('needs an admin for %s', async (_, route, type) => {
  const response = await post(`${newName()}/${route}`, 'CREATE TABLE t(a);', { type });
  expect(response.status).toBe(403);
});
