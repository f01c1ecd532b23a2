import { tenantQueue } from '@onewriter/protocol';
import { connect, type Onewriter, type OnewriterError, type RunResult, type Tenant } from '@onewriter/sdk';
import { type Service, type TemporaryDirectory, type TestRedis, waitFor } from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Services, startServices } from './services.ts';
import { slowInsert } from './slow-write.ts';
import { columnInFile, ledgerInFile } from './tenant-file.ts';

let services: Services;
let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let client: Onewriter;
let tenants = 0;

beforeAll(async () => {
  services = await startServices('writes');
  ({ redis, data, broker, client } = services);
});

afterAll(() => services?.stop());

/** @param deferred with a foreign key that is checked at COMMIT: then each write of the file is a transaction of its own */
async function newTenant(deferred: boolean): Promise<Tenant> {
  const tenant = client.tenant(`bad-${++tenants}`);
  await tenant.exec(`
    CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL UNIQUE);
    CREATE TABLE child(t INTEGER REFERENCES t(n) ${deferred ? 'DEFERRABLE INITIALLY DEFERRED' : ''});
    CREATE TABLE guarded(action TEXT);
    CREATE TRIGGER guard AFTER INSERT ON guarded BEGIN
      INSERT INTO t(n) VALUES (9998);
      SELECT CASE new.action
        WHEN 'rollback' THEN RAISE(ROLLBACK, 'no') WHEN 'fail' THEN RAISE(FAIL, 'no') ELSE RAISE(ABORT, 'no') END;
    END;
    INSERT INTO t(n) VALUES (-1);`);
  return tenant;
}

/** What a bad write is, and how it fails. Rows it leaves behind, or would, have n above 9,000. */
interface BadWrite {
  readonly what: string;
  readonly write: (db: Tenant) => Promise<unknown>;
  readonly code: string;
  readonly sqliteCode: string;
  /** It ends the transaction or makes its COMMIT fail: a savepoint does not hold it. */
  readonly spoils?: true;
  /** It needs a foreign key that is checked at COMMIT. */
  readonly deferred?: true;
  /** Rows of t that it leaves, as SQLite does. */
  readonly keeps?: readonly number[];
  /** Rows of guarded that it leaves. */
  readonly keepsGuarded?: number;
}

const sql = (text: string) => (db: Tenant) => db.prepare(text).run();

const BAD_WRITES: readonly BadWrite[] = [
  {
    what: 'a unique key that is taken',
    write: sql('INSERT INTO t(n) VALUES (9001), (-1)'),
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE',
  },
  {
    what: 'a missing value',
    write: sql('INSERT INTO t(n) VALUES (NULL)'),
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_NOTNULL',
  },
  {
    what: 'a table that does not exist',
    write: sql('INSERT INTO nowhere VALUES (1)'),
    code: 'SQL_ERROR',
    sqliteCode: 'SQLITE_ERROR',
  },
  {
    what: 'OR FAIL, which keeps the rows before the failure',
    write: sql('INSERT OR FAIL INTO t(n) VALUES (9002), (-1), (9003)'),
    keeps: [9002],
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE',
  },
  {
    what: 'RAISE(FAIL), which keeps what the trigger did',
    write: sql("INSERT INTO guarded VALUES ('fail')"),
    keeps: [9998],
    keepsGuarded: 1,
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_TRIGGER',
  },
  {
    what: 'INSERT OR ROLLBACK, which ends the transaction',
    write: sql('INSERT OR ROLLBACK INTO t(n) VALUES (9004), (-1)'),
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE',
    spoils: true,
  },
  {
    what: 'RAISE(ROLLBACK), which ends the transaction',
    write: sql("INSERT INTO guarded VALUES ('rollback')"),
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_TRIGGER',
    spoils: true,
  },
  {
    what: 'a deferred foreign key, which makes the COMMIT fail',
    write: sql('INSERT INTO child VALUES (404)'),
    deferred: true,
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    spoils: true,
  },
  {
    what: 'a transaction with OR ROLLBACK in it',
    write: db =>
      db.transaction([
        { sql: 'INSERT INTO t(n) VALUES (9005)' },
        { sql: 'UPDATE OR ROLLBACK t SET n = -1 WHERE n = 9005' },
      ]),
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE',
    spoils: true,
  },
  {
    what: 'a script with a deferred foreign key in it',
    write: db => db.exec('INSERT INTO t(n) VALUES (9006); INSERT INTO child VALUES (405)'),
    deferred: true,
    code: 'CONSTRAINT_VIOLATION',
    sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    spoils: true,
  },
];

const titled = (writes: readonly BadWrite[]) => writes.map(bad => [bad.what, bad] as const);

const WRITES = 100;
const BAD_INDEX = 49;

describe('one bad write in a job of 100', () => {
  it.each(titled(BAD_WRITES))('fails alone: %s', async (_, bad) => {
    const { write, code, sqliteCode, spoils, deferred = false, keeps = [], keepsGuarded = 0 } = bad;
    const db = await newTenant(deferred);
    const jobsBefore = ledgerInFile(data.path, db.id).length;
    const insert = db.prepare<[n: number]>('INSERT INTO t(n) VALUES (?)');

    // All in one turn: the coalescer makes one job of them.
    const settled = await Promise.allSettled(
      Array.from({ length: WRITES }, (_, n) => (n === BAD_INDEX ? write(db) : insert.run(n))),
    );

    const failed = settled.flatMap((result, n) => (result.status === 'rejected' ? [n] : []));
    expect(failed).toEqual([BAD_INDEX]);
    expect((settled[BAD_INDEX] as PromiseRejectedResult).reason).toMatchObject({
      name: 'OnewriterError',
      code,
      details: { sqliteCode },
    });

    const rows = Array.from({ length: WRITES }, (_, n) => (n === BAD_INDEX ? keeps : [n])).flat();
    expect(columnInFile(data.path, db.id, 'SELECT n FROM t ORDER BY id')).toEqual([-1, ...rows]);
    expect(columnInFile(data.path, db.id, 'SELECT count(*) FROM child')).toEqual([0]);
    expect(columnInFile(data.path, db.id, 'SELECT count(*) FROM guarded')).toEqual([keepsGuarded]);

    // It was one job: one row of the ledger has all hundred results, and the queue knows one job of a hundred writes.
    const jobs = ledgerInFile(data.path, db.id).slice(jobsBefore);
    expect(jobs).toHaveLength(1);
    const [job] = jobs;
    expect(job!.nextOp).toBeNull();
    expect(job!.results.map((result, n) => ('e' in result ? n : -1)).filter(n => n >= 0)).toEqual([
      BAD_INDEX,
    ]);
    expect(job!.results).toHaveLength(WRITES);
    const { name, prefix } = tenantQueue('default', db.id);
    const queue = new Queue(name, { connection: { url: redis.url }, prefix });
    onTestFinished(() => queue.close());
    const finished = await waitFor(async () => {
      const known = await queue.getJob(job!.jobId);
      return known?.finishedOn === undefined ? undefined : known;
    });
    expect(finished.returnvalue).toMatchObject({ writes: WRITES, failures: 1 });

    // And one transaction, unless the bad write spoils the one it is in.
    const seqs = new Set(
      settled.flatMap(result =>
        result.status === 'fulfilled' ? [(result.value as RunResult).commitSeq] : [],
      ),
    );
    expect(seqs).toEqual(new Set([job!.commitSeq]));
    if (!spoils) expect(job!.commitSeq).toBe(2);
  });
});

describe('a bad write of one client', () => {
  it.each(titled(BAD_WRITES.filter(({ spoils }) => spoils)))(
    'takes nothing from the clients whose jobs are committed with it: %s',
    async (_, { write, sqliteCode, deferred = false }) => {
      const db = await newTenant(deferred);
      const clients = await Promise.all(
        Array.from({ length: 5 }, () => connect({ redis: redis.url, dataDir: data.path })),
      );
      onTestFinished(async () => void (await Promise.all(clients.map(each => each.close()))));

      // While the thread is busy, what all of them send gathers, and is its next batch.
      const busy = db.prepare(slowInsert(500, 300)).run();
      await waitFor(async () => (await fetchFacts()).busyLanes === 1, { intervalMs: 2 });
      const others = clients.flatMap((each, c) => {
        const insert = each.tenant(db.id).prepare<[n: number]>('INSERT INTO t(n) VALUES (?)');
        return [0, 1, 2].map(n => insert.run(1_000 * (c + 1) + n));
      });
      const bad = write(clients[2]!.tenant(db.id)).then(
        () => undefined,
        (error: OnewriterError) => error,
      );

      await busy;
      await Promise.all(others);
      expect((await bad)?.details.sqliteCode).toBe(sqliteCode);
      expect(columnInFile(data.path, db.id, 'SELECT n FROM t WHERE n >= 1000 ORDER BY n')).toEqual(
        clients.flatMap((_, c) => [0, 1, 2].map(n => 1_000 * (c + 1) + n)),
      );
      // Five jobs in fewer transactions: they were together. With keys that are checked at COMMIT none is.
      const jobs = ledgerInFile(data.path, db.id).slice(2);
      expect(jobs).toHaveLength(5);
      const commits = new Set(jobs.map(job => job.commitSeq)).size;
      if (deferred) expect(commits).toBe(5);
      else expect(commits).toBeLessThan(5);
    },
  );
});

async function fetchFacts(): Promise<{ busyLanes: number }> {
  return (await (await fetch(`${broker.url}/readyz`)).json()) as { busyLanes: number };
}
