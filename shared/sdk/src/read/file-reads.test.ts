import { execFileSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { newDatabaseName, noteHibernated, realDatabasePath, withReservedNames } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LedgerReader } from '../settle/ledger.ts';
import type { SqlRow } from '../types.ts';
import type { BoundParameters } from '../write/parameters.ts';
import { FileReads, type FileReadsOptions } from './file-reads.ts';
import type { Reads } from './reads.ts';
import { Waking } from './waking.ts';

let dataDir: string;
let reads: FileReads;
const writers: Database.Database[] = [];

const OPTIONS = {
  dbFile: 'tenant.db',
  maxOpenReaders: 3,
  maxResultRows: 1_000,
  busyTimeoutMs: 300,
  maxSnapshotLogBytes: 256 * 1024 * 1024,
  waking: new Waking(async () => {}),
};
const SILENT = { warn: () => {}, error: () => {} };

function open(options: Partial<FileReadsOptions> = {}): FileReads {
  return new FileReads({ ...OPTIONS, dataDir, logger: SILENT, ...options });
}

/** A tenant's file, as the broker has it open. */
function createTenant(
  tenant: string,
  schema = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)',
): Database.Database {
  mkdirSync(join(dataDir, 'tenants', tenant), { recursive: true });
  const db = new Database(join(dataDir, 'tenants', tenant, 'tenant.db'));
  db.pragma('journal_mode = WAL');
  withReservedNames(db, () => db.exec(schema));
  writers.push(db);
  return db;
}

const request = (tenant: string, sql: string, params: BoundParameters = []) => ({
  tenant,
  sql,
  params,
  options: {},
});

/** SQL that inserts this many rows. */
const fill = (rows: number) =>
  `INSERT INTO t(v) WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s WHERE x < ${rows}) SELECT x FROM s`;

/** Reads in turns of the event loop of their own. */
async function readInTurns(tenant: string, turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    await failure(() => reads.get(request(tenant, 'SELECT v FROM t')));
    await new Promise<void>(resolve => setImmediate(resolve));
  }
}

/** The tombstone of a file: see retire-database.ts. */
function retire(path: string): void {
  const db = new Database(path);
  db.unsafeMode(true);
  const version = Number(db.pragma('schema_version', { simple: true }));
  db.exec(
    `PRAGMA writable_schema = ON; BEGIN IMMEDIATE; DELETE FROM sqlite_schema; PRAGMA schema_version = ${version + 1}; COMMIT`,
  );
  writers.push(db);
}

/** Puts another file in a tenant's place, as a restore does. */
function replace(tenant: string, schema: string): void {
  const folder = join(dataDir, 'tenants', tenant);
  const path = join(folder, 'tenant.db');
  const old = realDatabasePath(path);
  const name = newDatabaseName('tenant.db');
  const db = new Database(join(folder, name));
  db.pragma('journal_mode = WAL');
  withReservedNames(db, () => db.exec(schema));
  writers.push(db);
  if (old === path) {
    for (const suffix of ['', '-wal', '-shm']) linkSync(`${old}${suffix}`, join(folder, `aside${suffix}`));
  }
  symlinkSync(name, `${path}.link`);
  renameSync(`${path}.link`, path);
  retire(old === path ? join(folder, 'aside') : old);
}

/** Deletes a tenant as the gateway does. */
function remove(tenant: string): void {
  const trash = join(dataDir, `trash-${Math.random()}`);
  renameSync(join(dataDir, 'tenants', tenant), trash);
  retire(realDatabasePath(join(trash, 'tenant.db')));
}

async function collect(rows: AsyncIterable<SqlRow>): Promise<SqlRow[]> {
  const collected: SqlRow[] = [];
  for await (const row of rows) collected.push(row);
  return collected;
}

/** Names of the files that this process has open. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap(name => {
    try {
      return [basename(readlinkSync(`/proc/self/fd/${name}`))];
    } catch {
      return []; // that of the folder itself
    }
  });
}

async function failure(read: () => unknown): Promise<string | undefined> {
  try {
    await read();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-reads-'));
  reads = open();
});

afterEach(() => {
  reads.close();
  for (const db of writers.splice(0)) db.close();
  rmSync(dataDir, { recursive: true });
});

const LEDGER =
  'CREATE TABLE sqlite_onewriter_ledger(id INTEGER PRIMARY KEY, job_id TEXT, commit_seq INTEGER, next_op INTEGER, results TEXT)';
const JOBS =
  'CREATE TABLE sqlite_onewriter_jobs(job_id TEXT PRIMARY KEY, id INTEGER NOT NULL) STRICT, WITHOUT ROWID';

describe('FileReads', () => {
  it('sees each commit of another connection at its next read', () => {
    const db = createTenant('acme');
    for (let id = 1; id <= 3; id++) {
      db.prepare('INSERT INTO t VALUES (?, ?)').run(id, 'x');
      expect(reads.all(request('acme', 'SELECT id FROM t'))).toHaveLength(id);
    }
    expect(reads.get(request('acme', 'SELECT v FROM t WHERE id = @id', { id: 2 }))).toEqual({ v: 'x' });
    expect(reads.get(request('acme', 'SELECT v FROM t WHERE id = ?', [9]))).toBeUndefined();
  });

  it.each(['PRAGMA integrity_check', 'PRAGMA quick_check', 'SELECT * FROM pragma_integrity_check'])(
    'finds no damage in a full-text index that another connection has written: %s',
    async sql => {
      const writer = createTenant(
        'acme',
        `CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('a b')`,
      );
      const check = () => reads.allArrays(request('acme', sql));
      expect(await check()).toMatchObject({ rows: [['ok']] });
      writer.exec(`INSERT INTO f VALUES ('b c'); INSERT INTO f(f) VALUES ('optimize')`);
      expect(await check()).toMatchObject({ rows: [['ok']] });
    },
  );

  it('gives integers exactly: numbers where they fit, else bigint, in every kind of read', async () => {
    const db = createTenant('acme');
    const values = [
      0n,
      1n,
      -(2n ** 53n) + 1n,
      2n ** 53n - 1n,
      2n ** 53n,
      2n ** 53n + 1n,
      2n ** 63n - 1n,
      -(2n ** 63n),
    ];
    const insert = db.prepare('INSERT INTO t(v) VALUES (?)');
    for (const value of values) insert.run(value);
    const expected = values.map(value => (Number.isSafeInteger(Number(value)) ? Number(value) : value));
    const sql = 'SELECT v FROM t ORDER BY id';
    const one = expected.map((_, index) => {
      const row = reads.get(request('acme', 'SELECT v FROM t WHERE id = ?', [index + 1])) as SqlRow;
      return row['v'];
    });
    expect(one).toEqual(expected);
    // Twice: the second time the statement is known to need it.
    for (let round = 0; round < 2; round++) {
      expect((reads.all(request('acme', sql)) as SqlRow[]).map(row => row['v'])).toEqual(expected);
      expect(await reads.allArrays(request('acme', sql))).toEqual({
        columns: ['v'],
        rows: expected.map(v => [v]),
      });
    }
    expect((await collect(reads.iterate(request('acme', sql)))).map(row => row['v'])).toEqual(expected);
  });

  it('keeps large and infinite doubles as doubles', () => {
    createTenant('acme');
    const row = reads.get(
      request('acme', 'SELECT 1e300 a, 9e999 b, 9007199254740993.0 c, -0.5 d, 3 e'),
    ) as SqlRow;
    expect(row).toEqual({ a: 1e300, b: Number.POSITIVE_INFINITY, c: 9007199254740992, d: -0.5, e: 3 });
  });

  it('refuses more rows than the limit, and says what to do instead', async () => {
    createTenant('acme').exec(fill(1001));
    const sql = 'SELECT v FROM t';
    expect(await failure(() => reads.all(request('acme', sql)))).toBe('RESULT_TOO_LARGE');
    expect(await failure(() => reads.allArrays(request('acme', sql)))).toBe('RESULT_TOO_LARGE');
    expect(reads.all(request('acme', `${sql} LIMIT 1000`))).toHaveLength(1_000);
    expect(await collect(reads.iterate(request('acme', sql)))).toHaveLength(1_001);
  });

  it('cannot write, whatever the statement', async () => {
    createTenant('acme');
    expect(
      await failure(() => reads.all(request('acme', 'INSERT INTO t(v) VALUES (1) RETURNING id'))),
    ).toBeDefined();
    expect(await failure(() => reads.all(request('acme', 'PRAGMA query_only')))).toBeUndefined();
  });

  it('reads on while an iteration holds its own state of the database', async () => {
    const db = createTenant('acme');
    db.exec(fill(10));
    const rows = reads.iterate(request('acme', 'SELECT id FROM t'));
    await rows.next();
    db.exec('DELETE FROM t WHERE id > 5');
    expect(reads.all(request('acme', 'SELECT id FROM t'))).toHaveLength(5);
    expect(reads.openReaders).toBe(2);
    expect(await collect(rows)).toHaveLength(9);
    expect(reads.openReaders).toBe(1);
  });

  it('ends an iteration whose index of the log (-shm) is deleted, before it hands out rows of a later state', async () => {
    const db = createTenant('acme');
    db.exec('PRAGMA wal_autocheckpoint = 0');
    db.exec(fill(20_000));
    const rows = reads.iterate(request('acme', 'SELECT v > 20000 AS later FROM t ORDER BY id'));
    expect((await rows.next()).value).toEqual({ later: 0 });
    rmSync(join(dataDir, 'tenants', 'acme', 'tenant.db-shm'));
    // Acts as a broker in another process that has made another index: it does not see the iteration.
    const program = `
      const db = new (require(${JSON.stringify(createRequire(import.meta.url).resolve('better-sqlite3'))}))(process.argv[1]);
      db.exec('UPDATE t SET v = v + 20000');
      db.pragma('wal_checkpoint(TRUNCATE)');`;
    const path = join(dataDir, 'tenants', 'acme', 'tenant.db');
    execFileSync(process.execPath, ['--eval', program, path], { timeout: 30_000 });
    await new Promise<void>(resolve => setImmediate(resolve));
    const seen = new Set<unknown>();
    const drain = async () => {
      for await (const row of rows) seen.add(row['later']);
    };
    expect(await failure(drain)).toBe('SNAPSHOT_ENDED');
    expect([...seen].filter(later => later !== 0)).toEqual([]);
    expect(reads.openReaders).toBe(0);
  });

  it('ends such an iteration within seconds where no row is fetched, so that other reads can open the file', async () => {
    const db = createTenant('acme');
    db.exec(fill(2_000));
    const rows = reads.iterate(request('acme', 'SELECT id FROM t'));
    await rows.next();
    rmSync(join(dataDir, 'tenants', 'acme', 'tenant.db-shm'));
    db.close();
    expect(openFiles()).toContain('tenant.db-shm (deleted)');
    await expect.poll(openFiles, { timeout: 5_000 }).not.toContain('tenant.db-shm (deleted)');
    expect(await failure(() => rows.next())).toBe('SNAPSHOT_ENDED');
  });

  it('releases the connection of an iteration when the loop ends early, and fails no others', async () => {
    createTenant('acme').exec(fill(10));
    for await (const row of reads.iterate(request('acme', 'SELECT id FROM t'))) if (row['id'] === 3) break;
    const thrown = reads.iterate(request('acme', 'SELECT id FROM t'));
    await thrown.next();
    await thrown.throw(new Error('stop')).catch(() => {});
    expect(reads.openReaders).toBe(0);
  });

  it('bounds open iterations', async () => {
    createTenant('acme').exec('INSERT INTO t(v) VALUES (1), (2)');
    const held = [1, 2, 3].map(() => reads.iterate(request('acme', 'SELECT id FROM t')));
    for (const rows of held) await rows.next();
    expect(await failure(() => reads.iterate(request('acme', 'SELECT 1')).next())).toBe('BUFFER_FULL');
    expect(await failure(() => reads.get(request('acme', 'SELECT 1')))).toBe('BUFFER_FULL');
    await held[0]?.return();
    expect(reads.get(request('acme', 'SELECT 1 AS one'))).toEqual({ one: 1 });
    for (const rows of held) await rows.return();
  });

  it('fails an iteration when the client is closed, instead of ending it early', async () => {
    createTenant('acme').exec('INSERT INTO t(v) VALUES (1), (2), (3)');
    const rows = reads.iterate(request('acme', 'SELECT id FROM t'));
    await rows.next();
    reads.close();
    expect(await failure(() => rows.next())).toBe('CLOSED');
    expect(await failure(() => reads.get(request('acme', 'SELECT 1')))).toBe('CLOSED');
  });

  it('lets other work run during a long iteration', async () => {
    createTenant('acme').exec(fill(100000));
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    let rows = 0;
    for await (const _ of reads.iterate(request('acme', 'SELECT * FROM t'))) rows++;
    clearInterval(timer);
    expect(rows).toBe(100_000);
    expect(turns).toBeGreaterThan(3);
  });

  it('closes the file that was not read for longest', () => {
    for (const tenant of ['a', 'b', 'c', 'd']) createTenant(tenant);
    for (const tenant of ['a', 'b', 'c', 'a', 'd']) void reads.get(request(tenant, 'SELECT 1'));
    expect(reads.openReaders).toBe(3);
    expect(reads.get(request('b', 'SELECT 2 AS two'))).toEqual({ two: 2 });
  });

  it('reads the new file when one was moved there by hand, and none when it was deleted, after some turns', async () => {
    createTenant('acme').exec("INSERT INTO t(v) VALUES ('old')");
    expect(reads.get(request('acme', 'SELECT v FROM t'))).toEqual({ v: 'old' });
    renameSync(join(dataDir, 'tenants', 'acme'), join(dataDir, 'tenants', 'moved'));
    createTenant('acme').exec("INSERT INTO t(v) VALUES ('new')");
    await readInTurns('acme', 70);
    expect(reads.get(request('acme', 'SELECT v FROM t'))).toEqual({ v: 'new' });
    for (const db of writers.splice(0)) db.close();
    rmSync(join(dataDir, 'tenants', 'acme'), { recursive: true });
    await readInTurns('acme', 70);
    expect(await failure(() => reads.get(request('acme', 'SELECT v FROM t')))).toBe('TENANT_NOT_FOUND');
  });

  describe('after the file was replaced', () => {
    const READS = [
      'SELECT v FROM t',
      'SELECT v FROM t WHERE id = 1',
      "SELECT name AS v FROM pragma_table_info('t')",
      'SELECT sql AS v FROM sqlite_schema',
      'PRAGMA table_info(t)',
      'EXPLAIN QUERY PLAN SELECT * FROM t',
      'SELECT count(*) AS v FROM sqlite_schema',
    ];

    it.each(READS)('answers each kind of read from the new one at once: %s', async sql => {
      createTenant('acme').exec("INSERT INTO t(v) VALUES ('old')");
      const before = reads.all(request('acme', sql));
      expect(reads.get(request('acme', sql))).toEqual((before as SqlRow[])[0]);
      replace(
        'acme',
        "CREATE TABLE u(w); CREATE TABLE t(id INTEGER PRIMARY KEY, v, more); INSERT INTO t(v) VALUES ('new')",
      );
      const fresh = open();
      const now = fresh.all(request('acme', sql));
      expect(reads.all(request('acme', sql))).toEqual(now);
      expect(reads.get(request('acme', sql))).toEqual((now as SqlRow[])[0]);
      expect(await collect(reads.iterate(request('acme', sql)))).toEqual(now);
      expect(await reads.allArrays(request('acme', sql))).toEqual(
        await fresh.allArrays(request('acme', sql)),
      );
      fresh.close();
      if (!sql.startsWith('EXPLAIN')) expect(now).not.toEqual(before);
    });

    it('finds no tenant where it was deleted, also for a read that names no table', async () => {
      for (const sql of [
        'SELECT 1',
        'SELECT v FROM t',
        'PRAGMA user_version',
        'WITH c AS (SELECT 1) SELECT * FROM c',
      ]) {
        createTenant('acme');
        const other = open();
        for (const each of [reads, other]) await each.get(request('acme', sql));
        remove('acme');
        expect(await failure(() => reads.get(request('acme', sql)))).toBe('TENANT_NOT_FOUND');
        expect(await failure(() => other.iterate(request('acme', sql)).next())).toBe('TENANT_NOT_FOUND');
        other.close();
        // The next is plain: here it had no file before.
        rmSync(join(dataDir, 'tenants', 'acme'), { recursive: true, force: true });
      }
    });

    it('keeps an open iteration whole', async () => {
      createTenant('acme').exec(fill(1_000));
      const rows = reads.iterate(request('acme', 'SELECT v FROM t ORDER BY id'));
      await rows.next();
      replace('acme', 'CREATE TABLE t(v)');
      expect(await collect(rows)).toHaveLength(999);
      expect(reads.all(request('acme', 'SELECT v FROM t'))).toEqual([]);
    });

    it('finds the receipt of a write to the new one at once', async () => {
      const ledger = (job: string) =>
        `${LEDGER}; ${JOBS}; INSERT INTO sqlite_onewriter_ledger VALUES (1, '${job}', 1, NULL, '[[1,0]]'); INSERT INTO sqlite_onewriter_jobs VALUES ('${job}', 1)`;
      createTenant('acme', ledger('first'));
      expect(await reads.look('acme', 'first', [0])).toMatchObject({ kind: 'found' });
      replace('acme', ledger('second'));
      expect(await reads.look('acme', 'second', [0])).toMatchObject({ kind: 'found' });
      expect(await reads.look('acme', 'first', [0])).toMatchObject({ kind: 'absent' });
    });

    it('returns its own error where nothing was replaced', async () => {
      createTenant('acme');
      expect(await failure(() => reads.get(request('acme', 'SELECT * FROM missing')))).toBe('SQL_ERROR');
      expect(await failure(() => reads.get(request('acme', 'SELECT missing FROM t')))).toBe('SQL_ERROR');
    });
  });

  it('follows no symbolic link to another tenant, or out of the folder', async () => {
    createTenant('acme');
    symlinkSync(join(dataDir, 'tenants', 'acme'), join(dataDir, 'tenants', 'evil'));
    mkdirSync(join(dataDir, 'tenants', 'worse'));
    symlinkSync(
      join(dataDir, 'tenants', 'acme', 'tenant.db'),
      join(dataDir, 'tenants', 'worse', 'tenant.db'),
    );
    for (const tenant of ['evil', 'worse']) {
      expect(await failure(() => reads.get(request(tenant, 'SELECT 1')))).toBe('TENANT_UNAVAILABLE');
    }
  });

  it.each(['../acme', 'acme/../acme', 'ACME', '', 'a\0b', '%2e%2e'])(
    'opens nothing for the id %j',
    async id => {
      createTenant('acme');
      expect(await failure(() => reads.get(request(id, 'SELECT 1')))).toBe('INVALID_TENANT');
    },
  );

  it('says what is wrong, with a code', async () => {
    createTenant('acme');
    mkdirSync(join(dataDir, 'tenants', 'broken'));
    const { writeFileSync } = await import('node:fs');
    writeFileSync(
      join(dataDir, 'tenants', 'broken', 'tenant.db'),
      'this is not a database, not at all'.repeat(50),
    );
    const codes: unknown[] = [];
    for (const [tenant, sql, params] of [
      ['nobody', 'SELECT 1', []],
      ['broken', 'SELECT * FROM t', []],
      ['acme', 'SELECT * FROM missing', []],
      ['acme', 'SELECT ?', []],
      ['acme', 'SELECT ?', [1, 2]],
      ['acme', 'SELECT @a', { b: 1 }],
    ] as const) {
      codes.push(await failure(() => reads.get(request(tenant, sql, params))));
    }
    expect(codes).toEqual([
      'TENANT_NOT_FOUND',
      'DATABASE_CORRUPT',
      'SQL_ERROR',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
    ]);
  });

  it('waits for a lock without blocking the process, up to busyTimeoutMs', async () => {
    const db = createTenant('acme');
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('INSERT INTO t(v) VALUES (1)');
    let turns = 0;
    const timer = setInterval(() => turns++, 10);
    expect(await failure(() => reads.get(request('acme', 'SELECT v FROM t')))).toBe('DATABASE_BUSY');
    expect(turns).toBeGreaterThan(5);
    const began = performance.now();
    const hasty = { ...request('acme', 'SELECT v FROM t'), options: { timeoutMs: 30 } };
    expect(await failure(() => reads.get(hasty))).toBe('DATABASE_BUSY');
    expect(performance.now() - began).toBeLessThan(250);
    const reading = reads.all(request('acme', 'SELECT v FROM t'));
    await sleep(30);
    db.pragma('locking_mode = NORMAL');
    db.exec('INSERT INTO t(v) VALUES (2)');
    expect(await reading).toHaveLength(2);
    clearInterval(timer);
  });

  it('uses the fallback where a file cannot be opened here, and says so once', async () => {
    createTenant('acme').exec('INSERT INTO t(v) VALUES (1)');
    for (const db of writers.splice(0)) db.close();
    // As a read-only mount does while the writer has the tenant closed: the -wal file cannot be made.
    mkdirSync(join(dataDir, 'tenants', 'acme', 'tenant.db-wal'));
    const sql = 'SELECT v FROM t';
    expect(await failure(() => reads.get(request('acme', sql)))).toBe('TENANT_UNAVAILABLE');
    expect(await failure(() => reads.iterate(request('acme', sql)).next())).toBe('TENANT_UNAVAILABLE');
    expect(reads.lookNow('acme', 'w-1')).toBeUndefined();
    const row = { v: 'from the gateway' };
    const other: Reads & LedgerReader = {
      route: 'gateway',
      openReaders: 0,
      get: () => row,
      all: () => [row],
      allArrays: () => ({ columns: ['v'], rows: [Object.values(row)] }),
      iterate: async function* () {
        yield row;
      },
      lookNow: () => undefined,
      look: async () => ({ kind: 'absent' }),
      close: () => {},
    };
    const warnings: string[] = [];
    const both = new FileReads(
      { ...OPTIONS, dataDir, logger: { ...SILENT, warn: (_, message) => warnings.push(message) } },
      other,
    );
    expect(await both.get(request('acme', sql))).toEqual(row);
    expect(await both.all(request('acme', sql))).toEqual([row]);
    expect(await both.allArrays(request('acme', sql))).toMatchObject({ columns: ['v'] });
    expect(await collect(both.iterate(request('acme', sql)))).toEqual([row]);
    expect(await both.look('acme', 'w-1', [0])).toEqual({ kind: 'absent' });
    expect(warnings).toHaveLength(1);
    both.close();
  });

  it('waits for the lock of the owner that has brought a file back, and for a file that goes while it waits for a lock', async () => {
    const lock = (db: Database.Database) => {
      db.pragma('locking_mode = EXCLUSIVE');
      db.exec('BEGIN EXCLUSIVE; INSERT INTO t VALUES (1, 2); COMMIT');
    };
    let owner: Database.Database;
    const waking = open({
      busyTimeoutMs: 10_000,
      waking: new Waking(async tenant => {
        owner = createTenant(tenant);
        lock(owner);
        setTimeout(() => owner.close(), 50);
      }),
    });
    noteHibernated(dataDir, 'a', { commitSeq: 1, bytes: 1, since: '', who: '' });
    expect(await waking.get(request('a', 'SELECT v FROM t'))).toEqual({ v: 2 });
    const before = createTenant('b');
    lock(before);
    const read = waking.get(request('b', 'SELECT v FROM t'));
    noteHibernated(dataDir, 'b', { commitSeq: 1, bytes: 1, since: '', who: '' });
    for (const suffix of ['', '-wal', '-shm'])
      rmSync(join(dataDir, `tenants/b/tenant.db${suffix}`), { force: true });
    before.close();
    expect(await read).toEqual({ v: 2 });
    waking.close();
  });

  it('brings the file of a hibernated tenant back, for each kind of read', async () => {
    const woken: string[] = [];
    const wake = async (tenant: string) => {
      woken.push(tenant);
      createTenant(tenant).exec('INSERT INTO t VALUES (1, 2)');
    };
    const waking = open({ waking: new Waking(wake) });
    for (const tenant of ['a', 'b', 'c', 'd', 'e'])
      noteHibernated(dataDir, tenant, { commitSeq: 1, bytes: 1, since: '', who: '' });
    const sql = 'SELECT v FROM t';
    expect(await waking.get(request('a', sql))).toEqual({ v: 2 });
    expect(await waking.all(request('b', sql))).toEqual([{ v: 2 }]);
    expect(await waking.allArrays(request('c', sql))).toMatchObject({ rows: [[2]] });
    expect(await collect(waking.iterate(request('d', sql)))).toEqual([{ v: 2 }]);
    // Not known yet: asked again later, and by then it is here.
    expect(waking.lookNow('e', 'w-1')).toBeUndefined();
    expect(await waking.look('e', 'w-1', [0])).toEqual({ kind: 'absent' });
    expect(woken).toEqual(['a', 'b', 'c', 'd', 'e']);
    waking.close();
  });

  it('reads the ledger at once, and distinguishes absent from unreadable', async () => {
    const db = createTenant('acme');
    expect(reads.lookNow('nobody', 'w-1')).toEqual({ kind: 'absent' });
    expect(reads.lookNow('acme', 'w-1')).toEqual({ kind: 'absent' });
    withReservedNames(db, () => db.exec(`${LEDGER}; ${JOBS}`));
    expect(reads.lookNow('acme', 'w-1')).toEqual({ kind: 'absent' });
    db.exec(
      `INSERT INTO sqlite_onewriter_ledger(job_id, commit_seq, next_op, results) VALUES ('w-1', 5, NULL, '[[1,2],[1,3]]'), ('w-2', 6, 1, '[[1,4],[1,5]]')`,
    );
    expect(reads.lookNow('acme', 'w-1')).toMatchObject({
      kind: 'found',
      commitSeq: 5,
      results: [
        [1, 2],
        [1, 3],
      ],
    });
    expect(reads.lookNow('acme', 'w-2')).toMatchObject({ kind: 'found', commitSeq: 6, results: [[1, 4]] });
    reads.close();
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('INSERT INTO t(v) VALUES (1)');
    const other = open();
    expect(other.lookNow('acme', 'w-1')).toBeUndefined();
    // Who can wait is answered when the lock is gone.
    const answer = other.look('acme', 'w-2', [0]);
    db.pragma('locking_mode = NORMAL');
    db.exec('INSERT INTO t(v) VALUES (2)');
    expect(await answer).toMatchObject({ kind: 'found', commitSeq: 6 });
    other.close();
  });

  it.each([
    ['ALTER TABLE t ADD COLUMN y DEFAULT 5', 'SELECT * FROM t ORDER BY 3', [{ id: 1, v: 2, y: 5 }]],
    [
      'ALTER TABLE t ADD COLUMN y DEFAULT 5',
      'SELECT * FROM t UNION SELECT 1, 2, 3',
      [
        { id: 1, v: 2, y: 3 },
        { id: 1, v: 2, y: 5 },
      ],
    ],
    [
      'ALTER TABLE t ADD COLUMN y DEFAULT 5',
      'SELECT 1 AS one WHERE (1, 2, 5) IN (SELECT * FROM t)',
      [{ one: 1 }],
    ],
    ['ALTER TABLE t DROP COLUMN v', 'SELECT 7 AS seven WHERE 1 IN (SELECT * FROM t)', [{ seven: 7 }]],
    ['CREATE TABLE a(t REFERENCES t)', 'SELECT count(*) AS n FROM a', [{ n: 0 }]],
    ['CREATE TABLE a(t REFERENCES t)', 'PRAGMA foreign_key_list(a)', [{ table: 't', from: 't' }]],
    ['CREATE TABLE a(u UNIQUE)', 'PRAGMA index_list(a)', [{ name: 'sqlite_autoindex_a_1' }]],
    ['CREATE TABLE a(u UNIQUE)', 'PRAGMA index_info(sqlite_autoindex_a_1)', [{ name: 'u' }]],
    ['CREATE INDEX i ON t(v)', '-- which\nPRAGMA index_list(t)', [{ name: 'i' }]],
    ['CREATE INDEX i ON t(v)', 'PRAGMA main.index_xinfo(i)', [{ name: 'v' }, { name: null }]],
    ['CREATE INDEX i ON t(v)', 'EXPLAIN QUERY PLAN SELECT v FROM t WHERE v = 1', [{ detail: /INDEX i/ }]],
    ['DROP TABLE other', "SELECT count(*) AS n FROM pragma_table_list WHERE name = 'other'", [{ n: 0 }]],
  ])('knows the schema that another connection made: %s; %s', async (change, sql, expected) => {
    const db = createTenant('acme');
    db.exec('CREATE TABLE other(x); INSERT INTO t VALUES (1, 2)');
    const rows = expected.map(row =>
      expect.objectContaining(
        Object.fromEntries(
          Object.entries(row).map(([name, value]) => [
            name,
            value instanceof RegExp ? expect.stringMatching(value) : value,
          ]),
        ),
      ),
    );
    // Warm, and before the change a statement may be wrong, or empty.
    void reads.get(request('acme', 'SELECT * FROM t'));
    for (let run = 0; run < 2; run++) await failure(() => reads.all(request('acme', sql)));
    db.exec(change);
    expect(reads.all(request('acme', sql))).toEqual(rows);
    await new Promise(setImmediate);
    expect(reads.get(request('acme', sql))).toEqual(rows[0]);
    expect((reads.allArrays(request('acme', sql)) as { rows: unknown[] }).rows).toHaveLength(rows.length);
    expect(await collect(reads.iterate(request('acme', sql)))).toEqual(rows);
  });

  it('has the names of the newest schema from the turn after it was committed', async () => {
    const db = createTenant('acme');
    db.exec('INSERT INTO t VALUES (1, 2)');
    const named = request('acme', 'SELECT v FROM t WHERE id = ?', [1]);
    const all = request('acme', 'SELECT * FROM t');
    let before = 'v';
    for (const name of ['V', 'w', 'v', 'constructor', 'v']) {
      await failure(() => reads.get(named));
      db.exec(`ALTER TABLE t RENAME COLUMN ${before} TO ${name}`);
      before = name;
      await new Promise(setImmediate);
      if (/^v$/i.test(name)) expect(reads.get(named)).toEqual({ [name]: 2 });
      else expect(await failure(() => reads.get(named))).toBe('SQL_ERROR');
      expect(reads.get(all)).toEqual({ id: 1, [name]: 2 });
      expect(reads.all(all)).toEqual([{ id: 1, [name]: 2 }]);
    }
  });

  it.each([
    ['the current names', (sql: string) => sql],
    ['the names of format 2', (sql: string) => sql.replaceAll('sqlite_onewriter_', '_onewriter_')],
  ])('finds a job in the ledger by its index, and among the newest, with %s', async (_, names) => {
    const db = createTenant('acme');
    const found = (job: number) => ({ kind: 'found', commitSeq: job, results: [[1, job]] });
    const jobs = Array.from({ length: 40 }, (_, index) => index + 1);
    withReservedNames(db, () => db.exec(names(`${LEDGER}; ${JOBS}`)));
    const add = db.prepare(names('INSERT INTO sqlite_onewriter_ledger VALUES (?, ?, ?, NULL, ?)'));
    for (const id of jobs) add.run(id, `w-${id}`, id, `[[1,${id}]]`);
    db.exec(
      names(
        'INSERT INTO sqlite_onewriter_jobs SELECT job_id, id FROM sqlite_onewriter_ledger WHERE id <= 32',
      ),
    );
    const all = () => [...jobs.map(job => reads.lookNow('acme', `w-${job}`)), reads.lookNow('acme', 'w-41')];
    expect(all()).toMatchObject([...jobs.map(found), { kind: 'absent' }]);
    expect(await reads.look('acme', 'w-7', [0])).toEqual(found(7));
    // Nothing but the index and the newest block is looked at.
    db.exec(names("DELETE FROM sqlite_onewriter_jobs WHERE job_id = 'w-20'"));
    expect(reads.lookNow('acme', 'w-20')).toEqual({ kind: 'absent' });
    expect(await reads.look('acme', 'w-40', [0])).toEqual(found(40));
  });

  it('finds a job while a broker changes the names of the tables', async () => {
    const db = createTenant('acme');
    const found = { kind: 'found', commitSeq: 1, results: [[1, 1]] };
    const former = (sql: string) => sql.replaceAll('sqlite_onewriter_', '_onewriter_');
    db.exec(
      former(`${LEDGER}; ${JOBS}; INSERT INTO sqlite_onewriter_ledger VALUES (1, 'w-1', 1, NULL, '[[1,1]]')`),
    );
    expect(reads.lookNow('acme', 'w-1')).toMatchObject(found);
    withReservedNames(db, () => {
      for (const table of ['ledger', 'jobs']) {
        db.exec(`ALTER TABLE _onewriter_${table} RENAME TO sqlite_onewriter_${table}`);
      }
    });
    expect(reads.lookNow('acme', 'w-1')).toMatchObject(found);
    expect(await reads.look('acme', 'w-1', [0])).toEqual(found);
  });
});

describe('an iteration behind which much is written', () => {
  const MIB = 1024 * 1024;

  function write(db: Database.Database, mebibytes: number): void {
    const insert = db.prepare('INSERT INTO big(v) VALUES (zeroblob(1048576))');
    for (let count = 0; count < mebibytes; count++) insert.run();
  }

  it('is ended, so that the log can begin again', async () => {
    const db = createTenant('acme', 'CREATE TABLE t(v); CREATE TABLE big(v)');
    db.exec(fill(1_000));
    reads.close();
    reads = open({ maxSnapshotLogBytes: 4 * MIB });
    const rows = reads.iterate(request('acme', 'SELECT v FROM t'));
    expect((await rows.next()).value).toEqual({ v: 1 });
    write(db, 8);
    const [blocked] = db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    expect(blocked?.busy).toBe(1);
    // Nothing is fetched meanwhile: the connection lets go of its snapshot all the same.
    const free = () => (db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[])[0]?.busy;
    db.pragma('busy_timeout = 0');
    await expect.poll(free, { timeout: 5_000 }).toBe(0);
    await expect(rows.next()).rejects.toMatchObject({ code: 'SNAPSHOT_ENDED', retryable: true });
    expect(reads.get(request('acme', 'SELECT count(*) AS n FROM big'))).toEqual({ n: 8 });
  });

  it('continues where a log that something else made large does not grow', async () => {
    const db = createTenant('acme', 'CREATE TABLE t(v); CREATE TABLE big(v)');
    db.exec(fill(1_000));
    db.pragma('wal_autocheckpoint = 0');
    write(db, 32);
    reads.close();
    reads = open({ maxSnapshotLogBytes: 4 * MIB });
    const rows = reads.iterate(request('acme', 'SELECT v FROM t'));
    await rows.next();
    write(db, 1);
    await sleep(2_500);
    let count = 1;
    for await (const _ of rows) count++;
    expect(count).toBe(1_000);
  });
});
