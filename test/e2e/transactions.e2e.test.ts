import { PROTOCOL_VERSION, presenceKey, tenantQueue } from '@onewriter/protocol';
import { connect, type Onewriter, type Step, type StepsAnswer, type Tenant } from '@onewriter/sdk';
import {
  type Service,
  startRedis,
  startService,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { columnInFile, ledgerInFile } from './tenant-file.ts';

/* Steps and interactive transactions, through real brokers: what a libSQL client's requests become. */

const PATIENT = { timeoutMs: 30_000 };
/** So that a transaction is taken away at once when others wait, or not while a test runs. */
const SHORT = { ONEWRITER_TRANSACTION_TIMEOUT_MS: '300', ONEWRITER_TRANSACTION_IDLE_MS: '200' };
const LONG = { ONEWRITER_TRANSACTION_TIMEOUT_MS: '60000', ONEWRITER_TRANSACTION_IDLE_MS: '60000' };
const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE)';
const insert = (name: string): Step => ({ sql: 'INSERT INTO t(name) VALUES (?)', params: [name] });
const sql = (...texts: string[]): Step[] => texts.map(text => ({ sql: text }));

let redis: TestRedis;
let directory: TemporaryDirectory;
let dataDir: string;
let app: Onewriter;

function startBroker(env: Readonly<Record<string, string>> = {}): Promise<Service> {
  return startService('broker', { redisUrl: redis.url, dataDir, env: { ...LONG, ...env } });
}

/** A tenant with the table, by a name that no other test has. */
async function createTenant(id: string): Promise<Tenant> {
  const db = app.tenant(id);
  await db.exec(CREATE, PATIENT);
  return db;
}

const namesIn = (db: Tenant) => columnInFile(dataDir, db.id, 'SELECT name FROM t ORDER BY id');

/** 'ok', 'skipped', or the code of each step. */
const verdicts = ({ results }: StepsAnswer) =>
  results.map(result => (result.type === 'error' ? result.error.code : result.type));

async function begin(db: Tenant, ...steps: Step[]): Promise<string> {
  const answer = await db.steps(
    { steps: [{ sql: 'BEGIN IMMEDIATE' }, ...steps], interactive: true },
    PATIENT,
  );
  expect(answer).toMatchObject({ autocommit: false, transaction: { id: expect.stringMatching(/^t-/) } });
  return answer.transaction!.id;
}

const goOn = (db: Tenant, transaction: string, ...steps: Step[]) =>
  db.steps({ steps, transaction, interactive: true }, PATIENT);

beforeAll(async () => {
  redis = await startRedis();
  directory = await temporaryDirectory();
  dataDir = directory.path;
  app = await connect({ redis: redis.url, dataDir });
});
afterAll(async () => {
  await app?.close({ timeoutMs: 1_000 });
  await redis?.stop();
  await directory?.[Symbol.asyncDispose]();
});

describe('a broker with interactive transactions', () => {
  let broker: Service;

  beforeAll(async () => {
    broker = await startBroker();
  });
  afterAll(async () => void (await broker?.stop()));

  it('runs steps among the writes of others, and transactions over several requests', async () => {
    const db = await createTenant('story');
    const [answer, write] = await Promise.all([
      db.steps(
        {
          steps: [
            { sql: 'BEGIN' },
            insert('a'),
            { ...insert('a'), condition: { type: 'ok', step: 1 } },
            { sql: 'COMMIT', condition: { type: 'ok', step: 2 } },
            { sql: 'ROLLBACK', condition: { type: 'not', cond: { type: 'ok', step: 3 } } },
            insert('b'),
            { sql: 'SELECT id, name, 5.0 AS real FROM t' },
          ],
        },
        PATIENT,
      ),
      db.prepare("INSERT INTO t(name) VALUES ('other')").withOptions(PATIENT).run(),
    ]);
    expect(verdicts(answer)).toEqual(['ok', 'ok', 'CONSTRAINT_VIOLATION', 'skipped', 'ok', 'ok', 'ok']);
    expect(answer).toMatchObject({ autocommit: true, commitSeq: write.commitSeq });
    expect(answer.results[2]).toMatchObject({ error: { sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE' } });
    expect(answer.results[5]).toMatchObject({ lastInsertRowid: 1, changes: 1 });
    expect(answer.results[6]).toMatchObject({
      columns: [
        { name: 'id', decltype: 'INTEGER' },
        { name: 'name', decltype: 'TEXT' },
        { name: 'real', decltype: null },
      ],
      rows: [[1n, 'b', 5]],
    });

    const transaction = await begin(db, insert('c'));
    // A write of the tenant waits; another tenant's, in the same or another thread, does not.
    const waiting = db.prepare("INSERT INTO t(name) VALUES ('waits')").withOptions(PATIENT).run();
    const others = await Promise.all(['one', 'two', 'three'].map(createTenant));
    for (const other of others)
      await other.prepare("INSERT INTO t(name) VALUES ('x')").withOptions(PATIENT).run();
    expect(namesIn(db)).toEqual(['b', 'other']);
    // Larger than an event: no ledger has it.
    const large = await goOn(db, transaction, { sql: 'SELECT name, hex(randomblob(60000)) FROM t' });
    expect(large.results[0]).toMatchObject({
      rows: [['b', expect.any(String)], expect.anything(), ['c', expect.any(String)]],
    });
    const committed = await goOn(db, transaction, insert('d'), { sql: 'COMMIT' });
    expect(committed).toMatchObject({ autocommit: true, commitSeq: write.commitSeq + 1 });
    expect(committed.transaction).toBeUndefined();
    expect((await waiting).commitSeq).toBe(write.commitSeq + 2);
    expect(namesIn(db)).toEqual(['b', 'other', 'c', 'd', 'waits']);

    const rolledBack = await begin(db, insert('e'));
    expect(await goOn(db, rolledBack, ...sql('ROLLBACK', 'SELECT count(*) FROM t'))).toMatchObject({
      autocommit: true,
      results: [{ type: 'ok' }, { rows: [[5n]] }],
    });
    const { commitSeq } = await db.prepare("INSERT INTO t(name) VALUES ('f')").withOptions(PATIENT).run();
    expect(commitSeq).toBe(write.commitSeq + 3);
  });

  it('lets a second transaction wait for the first, and withdraws one whose deadline comes before that', async () => {
    const db = await createTenant('queues');
    const first = await begin(db, insert('a'));
    const second = begin(db, insert('b'));
    const impatient = db.steps(
      { steps: [{ sql: 'BEGIN IMMEDIATE' }, insert('c')], interactive: true },
      { timeoutMs: 500 },
    );
    await expect(impatient).rejects.toMatchObject({ code: 'TRANSACTION_BUSY', retryable: true });
    await goOn(db, first, { sql: 'COMMIT' });
    await goOn(db, await second, { sql: 'COMMIT' });
    expect(namesIn(db)).toEqual(['a', 'b']);
    await expect(
      db.steps(
        { steps: sql('BEGIN IMMEDIATE', 'DELETE FROM t'), interactive: true, expectCommitSeq: 1 },
        PATIENT,
      ),
    ).rejects.toMatchObject({ code: 'SNAPSHOT_STALE' });
    expect(namesIn(db)).toEqual(['a', 'b']);
  });

  it('begins none for a client that is gone', async () => {
    const db = await createTenant('gone');
    const open = await begin(db, insert('a'));
    const redisClient = new Redis(redis.url);
    onTestFinished(() => redisClient.disconnect());
    expect(await redisClient.exists(presenceKey('default', app.clientId))).toBe(1);
    const { prefix, name } = tenantQueue('default', db.id);
    const key = `${prefix}:${name}:`;
    // As long ago as it takes a client to be missed; they would hold the writer for a minute each.
    const old = (Date.now() - 10_000).toString(16).padStart(12, '0');
    const ids = [1, 2, 3].map(n => `b-${old.slice(0, 8)}-${old.slice(8)}-7000-8000-00000000000${n}`);
    const by = Date.now() + 60_000;
    const message = `{"v":${PROTOCOL_VERSION},"client":"c-gone","seq":1,"at":0,"live":1,"sql":["BEGIN IMMEDIATE"],"ops":[{"q":[{"s":0}],"i":1,"by":${by}}]}`;
    for (const id of ids) {
      await redisClient.hset(key + id, { name: 'gone', data: message, opts: '{}', timestamp: Date.now() });
      await redisClient.lpush(`${key}wait`, id);
    }
    const write = db.prepare("INSERT INTO t(name) VALUES ('b')").withOptions(PATIENT).run();
    await waitFor(async () => (await redisClient.llen(`${key}wait`)) === 4, { what: 'a write that waits' });
    await goOn(db, open, ...sql('COMMIT'));
    await write;
    expect(namesIn(db)).toEqual(['a', 'b']);
    for (const id of ids) {
      expect(await redisClient.hget(key + id, 'failedReason')).toMatch(/^TRANSACTION_BUSY: .* gone/);
    }
  });

  it('lets a migration switch foreign keys off, for itself alone', async () => {
    const db = await createTenant('migrates');
    await db.exec(
      "CREATE TABLE c(t INTEGER REFERENCES t(id)); INSERT INTO t VALUES (1, 'a'); INSERT INTO c VALUES (1)",
    );
    const migrated = await db.steps(
      {
        steps: sql(
          'PRAGMA foreign_keys=off',
          'BEGIN DEFERRED',
          'DROP TABLE t',
          'CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, more TEXT)',
          'INSERT INTO t(id) VALUES (1)',
          'COMMIT',
          'PRAGMA foreign_keys=on',
        ),
      },
      PATIENT,
    );
    expect(new Set(verdicts(migrated))).toEqual(new Set(['ok']));
    await expect(db.prepare('INSERT INTO c VALUES (99)').run()).rejects.toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
    });
  });

  it('rolls back at SIGTERM, and its successor says so', async () => {
    const db = await createTenant('drains');
    const transaction = await begin(db, insert('a'));
    const queued = db.prepare("INSERT INTO t(name) VALUES ('queued')").withOptions(PATIENT).run();
    expect(await broker.stop()).toMatchObject({ code: 0 });
    broker = await startBroker();
    await queued;
    const late = await goOn(db, transaction, insert('b'), { sql: 'COMMIT' }, { sql: 'ROLLBACK' });
    expect(verdicts(late)).toEqual(['TRANSACTION_TIMEOUT', 'TRANSACTION_TIMEOUT', 'ok']);
    expect(namesIn(db)).toEqual(['queued']);
  });

  it('leaves nothing half done when it is killed in an open transaction', async () => {
    const db = await createTenant('killed');
    const transaction = await begin(db, insert('a'));
    broker.child.kill('SIGKILL');
    const committing = goOn(db, transaction, { sql: 'COMMIT' });
    broker = await startBroker();
    expect(verdicts(await committing)).toEqual(['TRANSACTION_TIMEOUT']);
    expect(namesIn(db)).toEqual([]);
    const again = await begin(db, insert('b'));
    await goOn(db, again, { sql: 'COMMIT' });
    expect(namesIn(db)).toEqual(['b']);
  });
});

describe('a broker whose limits for transactions are short', () => {
  let broker: Service;

  beforeAll(async () => {
    broker = await startBroker(SHORT);
  });
  afterAll(async () => void (await broker?.stop()));

  it('takes a transaction away when others wait, and not before', async () => {
    const db = await createTenant('leases');
    const transaction = await begin(db, insert('a'));
    // Well past both limits, with no other writer waiting.
    const started = Date.now();
    await waitFor(() => Date.now() - started > 600, { ...PATIENT, what: 'the limits to pass' });
    expect(verdicts(await goOn(db, transaction, insert('b')))).toEqual(['ok']);
    const metrics = await (await fetch(`${broker.url}/metrics`)).text();
    expect(metrics).toContain('onewriter_open_transactions');
    await db.prepare("INSERT INTO t(name) VALUES ('other')").withOptions(PATIENT).run();
    const late = await goOn(db, transaction, insert('c'), { sql: 'COMMIT' });
    expect(verdicts(late)).toEqual(['TRANSACTION_TIMEOUT', 'TRANSACTION_TIMEOUT']);
    expect(late).toMatchObject({ autocommit: false });
    expect(verdicts(await goOn(db, transaction, { sql: 'ROLLBACK' }))).toEqual(['ok']);
    expect(namesIn(db)).toEqual(['other']);
  });
});

describe('kill -9 behind a COMMIT, before it is acknowledged', () => {
  it('is answered from the ledger, once', async () => {
    // The table, BEGIN, and the COMMIT.
    const dying = await startBroker({ ONEWRITER_FAILPOINT: 'after-commit:3' });
    onTestFinished(async () => void (await dying.stop()));
    const db = await createTenant('committed');
    const transaction = await begin(db, insert('a'));
    const committing = goOn(
      db,
      transaction,
      insert('b'),
      { sql: 'COMMIT' },
      { sql: 'SELECT count(*) FROM t' },
    );
    await waitFor(() => dying.child.signalCode !== null, { ...PATIENT, what: 'the broker to be killed' });
    const broker = await startBroker();
    onTestFinished(async () => void (await broker.stop()));
    const answer = await committing;
    expect(answer).toMatchObject({ autocommit: true });
    expect(verdicts(answer)).toEqual(['ok', 'ok', 'ok']);
    expect(namesIn(db)).toEqual(['a', 'b']);
    const entry = ledgerInFile(dataDir, db.id).at(-1)!;
    expect(entry.nextOp).toBeNull();
    expect(entry.commitSeq).toBeGreaterThanOrEqual(answer.commitSeq!);
    expect(entry.jobId).toMatch(/^s-/);
  });
});
