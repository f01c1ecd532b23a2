import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { tenantFile, withReservedNames } from '@onewriter/protocol';
import { createLogger } from '@onewriter/runtime';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { ReadStepsRequest } from './read-steps.ts';

const ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n';

// The processes are those that were built: threads and processes load JavaScript.
const { createReadSteps } = (await import(
  new URL('../../dist/reads/read-steps.js', import.meta.url).href
)) as typeof import('./read-steps.ts');
const { ReadProcesses } = (await import(
  new URL('../../dist/reads/read-processes.js', import.meta.url).href
)) as typeof import('./read-processes.ts');

async function openReads(
  options: { maxProcesses?: number; memoryBytes?: number; snapshotLogBytes?: number } = {},
) {
  const directory = mkdtempSync(join(tmpdir(), 'onewriter-reads-'));
  const reads = new ReadProcesses({
    dataDir: directory,
    dbFile: 'tenant.db',
    busyTimeoutMs: 1_000,
    maxOpenFiles: 32,
    maxProcesses: options.maxProcesses ?? 2,
    memoryBytes: options.memoryBytes ?? 512 * 1024 * 1024,
    timeoutMs: 10_000,
    snapshotLogBytes: options.snapshotLogBytes ?? 256 * 1024 * 1024,
    log: createLogger('test', 'silent'),
  });
  onTestFinished(async () => {
    await reads.close();
    rmSync(directory, { recursive: true });
  });
  const create = (tenant: string, script: string) => {
    const path = tenantFile(directory, tenant);
    mkdirSync(dirname(path), { recursive: true });
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    withReservedNames(db, () => db.exec(script));
    db.close();
    return path;
  };
  create(
    'acme',
    `CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (9007199254740993, x'0102'), (1.5, NULL);
     CREATE TABLE sqlite_onewriter_state(id INTEGER PRIMARY KEY, commit_seq INTEGER);
     INSERT INTO sqlite_onewriter_state VALUES (1, 3);
     CREATE TABLE sqlite_onewriter_ledger(id INTEGER PRIMARY KEY, commit_seq INTEGER);
     INSERT INTO sqlite_onewriter_ledger VALUES (1, 7)`,
  );
  const read = (sql: string, more: object = {}) =>
    reads.read({ tenant: 'acme', statements: [{ sql }], ...more });
  await read('SELECT 1'); // the first process is there
  return { reads, read, create, directory };
}

describe('ReadProcesses', () => {
  it('reads exact values, with the commit they are of', async () => {
    const { read } = await openReads();
    expect(await read('SELECT a, b FROM t')).toEqual({
      results: [
        {
          columns: ['a', 'b'],
          rows: [
            [1, 'x'],
            [9007199254740993n, Buffer.from([1, 2])],
            [1.5, null],
          ],
        },
      ],
      commitSeq: 7,
      incarnation: '',
    });
  });

  it('writes rows as JSON in the process, with a bound for names that stand in each row', async () => {
    const { read } = await openReads();
    const jsonOf = async (sql: string, rows: 'objects' | 'arrays' | 'none', more: object = {}) => {
      const { results } = await read(sql, { json: { values: 'plain', rows }, ...more });
      expect(results[0]!.rows).toEqual([]);
      return Buffer.concat(results[0]!.json!).toString();
    };
    expect(await jsonOf('SELECT a, b FROM t', 'objects')).toBe(
      '{"a":1,"b":"x"},{"a":"9007199254740993","b":"AQI="},{"a":1.5,"b":null}',
    );
    expect(await jsonOf('SELECT a FROM t', 'arrays', { firstRowOnly: true })).toBe('[1]');
    expect(await jsonOf('SELECT a FROM t WHERE a > 1e300', 'arrays')).toBe('');
    expect(await jsonOf('PRAGMA synchronous', 'arrays')).toMatch(/^\[\d\]$/);
    expect(await jsonOf('SELECT a FROM t', 'none')).toBe('');
    const series = (last: number) =>
      `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${last})`;
    // In several messages.
    const many = JSON.parse(`[${await jsonOf(`${series(50_000)} SELECT i FROM c`, 'arrays')}]`) as number[][];
    expect(many.map(([i]) => i)).toEqual(Array.from({ length: 50_000 }, (_, index) => index + 1));
    const long = Array.from({ length: 1_000 }, (_, index) => `1 AS ${'c'.repeat(400)}${index}`).join();
    const wide = jsonOf(`${series(300)} SELECT ${long} FROM c`, 'objects');
    await expect(wide).rejects.toMatchObject({
      code: 'RESULT_TOO_LARGE',
      message: expect.stringContaining('without names'),
    });
  });

  it('binds parameters by position and by name', async () => {
    const { reads } = await openReads();
    const one = { sql: 'SELECT ?, typeof(?)', params: [9007199254740993n, 2n] };
    const two = { sql: 'SELECT @a', params: { a: true } };
    const { results } = await reads.read({ tenant: 'acme', statements: [one, two] });
    expect(results.map(result => result.rows)).toEqual([[[9007199254740993n, 'integer']], [[1]]]);
  });

  it('finds no damage in a full-text index that another process has written', async () => {
    const { read, create } = await openReads();
    const statements = [
      { sql: 'PRAGMA integrity_check' },
      { sql: 'PRAGMA quick_check' },
      { sql: 'SELECT * FROM pragma_integrity_check' },
    ];
    const check = async () => (await read('', { statements })).results.map(({ rows }) => rows);
    create('acme', `CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('a b')`);
    expect(await check()).toEqual([[['ok']], [['ok']], [['ok']]]);
    create('acme', `INSERT INTO f VALUES ('b c'); INSERT INTO f(f) VALUES ('optimize')`);
    expect(await check()).toEqual([[['ok']], [['ok']], [['ok']]]);
  });

  it('says what is wrong', async () => {
    const { read, reads } = await openReads();
    await expect(read('SELECT nothing FROM t')).rejects.toMatchObject({
      code: 'SQL_ERROR',
      details: { sqliteCode: 'SQLITE_ERROR' },
    });
    await expect(read('SELECT ?')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(read('DELETE FROM t')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const missing = reads.read({ tenant: 'absent', statements: [{ sql: 'SELECT 1' }] });
    await expect(missing).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    expect((await read('SELECT 1')).results[0]?.rows).toEqual([[1]]);
  });

  it('stops a read at its deadline, while others continue, and reads again', async () => {
    const { read, create, reads } = await openReads();
    create('globex', 'CREATE TABLE t(a); INSERT INTO t VALUES (5)');
    const endless = read(ENDLESS, { timeoutMs: 2_000 });
    const stopped = expect(endless).rejects.toMatchObject({ code: 'READ_TIMEOUT' });
    const start = performance.now();
    const other = await reads.read({ tenant: 'globex', statements: [{ sql: 'SELECT a FROM t' }] });
    expect(other.results[0]?.rows).toEqual([[5]]);
    expect(performance.now() - start).toBeLessThan(1_900);
    await stopped;
    expect((await read('SELECT 1')).results[0]?.rows).toEqual([[1]]);
  });

  it('never gives a tenant all processes', async () => {
    const { read, create, reads } = await openReads({ maxProcesses: 2 });
    create('globex', 'CREATE TABLE t(a)');
    const bombs = Array.from({ length: 4 }, () =>
      read(ENDLESS, { timeoutMs: 4_000 }).catch(error => error.code),
    );
    const { results } = await reads.read({ tenant: 'globex', statements: [{ sql: 'SELECT 3' }] });
    expect(results[0]?.rows).toEqual([[3]]);
    const codes = await Promise.all(bombs);
    // Those that did not get the one process that the tenant may have were never begun.
    expect(new Set(codes)).toEqual(new Set(['READ_TIMEOUT', 'TIMEOUT']));
  });

  it('stops a read whose caller went away', async () => {
    const { read } = await openReads({ maxProcesses: 1 });
    const caller = new AbortController();
    const endless = read(ENDLESS, { signal: caller.signal });
    const stopped = expect(endless).rejects.toMatchObject({ code: 'ABORTED' });
    await read('SELECT 1', { timeoutMs: 200 }).catch(() => {}); // by then the other has begun
    caller.abort();
    await stopped;
    expect((await read('SELECT 1')).results[0]?.rows).toEqual([[1]]);
  });

  it('bounds rows, bytes and memory', async () => {
    const { read } = await openReads();
    const many =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200000) SELECT i FROM n';
    await expect(read(many)).rejects.toMatchObject({
      code: 'RESULT_TOO_LARGE',
      details: { maxRows: 100_000 },
    });
    const wide =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50) SELECT zeroblob(1000000) FROM n';
    await expect(read(wide)).rejects.toMatchObject({ code: 'RESULT_TOO_LARGE' });
    for (const sql of ['SELECT zeroblob(900000000)', 'SELECT length(hex(zeroblob(499000000)))']) {
      await expect(read(sql)).rejects.toMatchObject({ code: 'RESULT_TOO_LARGE' });
    }
    expect((await read('SELECT 1')).results[0]?.rows).toEqual([[1]]);
  });

  it('streams a result of any length, and ends with its reader', async () => {
    const { reads, read } = await openReads();
    const sql =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT i, i FROM n';
    const { columns, chunks } = await reads.stream({ tenant: 'acme', statements: [{ sql }] });
    let rows = 0;
    for await (const chunk of chunks) rows += chunk.length;
    expect([columns, rows]).toEqual([['i', 'i'], 300_000]);

    const endless = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n';
    const second = await reads.stream({ tenant: 'acme', statements: [{ sql: endless }] });
    for await (const chunk of second.chunks) if (chunk.length > 0) break;
    expect((await read('SELECT 1')).results[0]?.rows).toEqual([[1]]);

    const third = await reads.stream({ tenant: 'acme', statements: [{ sql: endless }], timeoutMs: 1_500 });
    const drain = async () => {
      for await (const chunk of third.chunks) void chunk;
    };
    await expect(drain()).rejects.toMatchObject({ code: 'READ_TIMEOUT' });
  });

  it('waits for a commit that a read must see', async () => {
    const { read, directory } = await openReads();
    await expect(read('SELECT 1', { minCommitSeq: 8, timeoutMs: 1_000 })).rejects.toMatchObject({
      code: 'COMMIT_SEQ_NOT_REACHED',
      details: { commitSeq: 7 },
    });
    const waiting = read('SELECT 1', { minCommitSeq: 8, timeoutMs: 5_000 });
    const writer = new Database(tenantFile(directory, 'acme'));
    writer.exec('INSERT INTO sqlite_onewriter_ledger VALUES (2, 8)');
    writer.close();
    expect((await waiting).commitSeq).toBe(8);
  });

  it('reads the file that is there now, not one that was moved away', async () => {
    const { read, create, reads, directory } = await openReads();
    expect((await read('SELECT count(*) FROM t')).results[0]?.rows).toEqual([[3]]);
    await vi.waitFor(() => expect(reads.openFiles).toBeGreaterThan(0));
    renameSync(dirname(tenantFile(directory, 'acme')), `${directory}/old`);
    await expect(read('SELECT 1')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    create('acme', 'CREATE TABLE t(a)');
    expect((await read('SELECT count(*) FROM t')).results[0]?.rows).toEqual([[0]]);
  });

  it('ends what holds a snapshot while much is written: a statement inside SQLite, a slow stream, a kept transaction', async () => {
    const { reads, read, directory } = await openReads({
      snapshotLogBytes: 4 * 1024 * 1024,
      maxProcesses: 4,
    });
    const db = new Database(tenantFile(directory, 'acme'));
    onTestFinished(() => void db.close());
    db.pragma('busy_timeout = 0');
    db.exec('CREATE TABLE big(v)');
    const { chunks } = await reads.stream({
      tenant: 'acme',
      statements: [
        {
          sql: 'SELECT t.a, zeroblob(100000) FROM t, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n)',
        },
      ],
    });
    const endless = read(`SELECT a FROM t, (${ENDLESS}) LIMIT 1`).catch((error: unknown) => error);
    const steps = ['BEGIN', 'SELECT a FROM t'].map(sql => ({ sql, params: [], rows: true }));
    const request = { tenant: 'acme', steps, keep: 'k1', emptyIfMissing: false };
    const kept = await createReadSteps(reads).run(request as unknown as ReadStepsRequest);
    expect(kept.autocommit).toBe(false);
    // All have begun; each is looked at a second later, and from then on what is written counts.
    await vi.waitFor(
      () => {
        for (let count = 0; count < 4; count++) db.exec('INSERT INTO big VALUES (zeroblob(1048576))');
        expect(db.pragma('wal_checkpoint(TRUNCATE)')).toMatchObject([{ busy: 0 }]);
      },
      { timeout: 9_000, interval: 200 },
    );
    expect(await endless).toMatchObject({ code: 'SNAPSHOT_ENDED', retryable: true });
    const failure = (async () => {
      for await (const _ of chunks);
    })();
    await expect(failure).rejects.toMatchObject({ code: 'SNAPSHOT_ENDED' });
  });
});
