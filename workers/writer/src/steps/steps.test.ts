import {
  isMet,
  newStepsJobId,
  newTransactionId,
  type StepCondition,
  type WireOperationResult,
  type WireStepResult,
  type WireStepsResult,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import {
  applied,
  queuedJob,
  resultsOf,
  script,
  TemporaryLane,
  writes,
} from '../../test-support/temporary-lane.ts';
import { applyBatch } from '../batch/apply-batch.ts';
import { TenantDatabase } from '../file/tenant-database.ts';
import type { AppliedOutcome, JobOutcome, QueuedJob } from '../thread/lane-task.ts';
import { Progress } from '../thread/progress.ts';

const SCHEMA = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
  CREATE TABLE child(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent(id));
  CREATE TRIGGER no_seven BEFORE INSERT ON parent WHEN new.id = 7 BEGIN SELECT raise(ROLLBACK, 'no seven'); END;
`;

const DEFERRED = SCHEMA.replace('parent(id))', 'parent(id) DEFERRABLE INITIALLY DEFERRED)');

type TestStep = string | { sql: string; c?: StepCondition; x?: 1; p?: unknown; n?: 1 };

interface RequestOptions {
  readonly tx?: string | undefined;
  readonly i?: 1 | undefined;
  readonly at?: number | undefined;
  readonly in?: string | undefined;
  readonly by?: number | undefined;
  readonly fk?: 0 | 1 | undefined;
  readonly id?: string | undefined;
}

/** A job of one request of steps. */
function stepsJob(steps: readonly TestStep[], { id, ...more }: RequestOptions = {}): QueuedJob {
  const sql = steps.map(step => (typeof step === 'string' ? step : step.sql));
  const q = steps.map((step, s) => {
    const { sql: _, ...rest } = typeof step === 'string' ? { sql: step } : step;
    return { s, ...rest };
  });
  return queuedJob(sql, [{ q, ...more }], id === undefined ? {} : { id });
}

function resultOf(job: JobOutcome | undefined): WireStepsResult {
  const [result] = (
    job?.answer === undefined ? resultsOf(job) : JSON.parse(job.answer)
  ) as WireOperationResult[];
  if (result === undefined || !('q' in result)) throw new Error(`no steps: ${JSON.stringify(result)}`);
  return result;
}

/** 'ok', 'skipped', or the code of the error. */
function verdictOf(step: WireStepResult): string {
  if (step === 0) return 'skipped';
  return 'e' in step ? String(step.e.details?.sqliteCode ?? step.e.code) : 'ok';
}

const verdicts = (job: JobOutcome | undefined) => resultOf(job).q.map(verdictOf);

/** Applies a job in a process that ends after some commits. */
function dieAtCommit(lane: TemporaryLane, job: QueuedJob, commits = 1): void {
  lane.lane.close();
  const database = TenantDatabase.open('acme', { ...lane.options, epoch: 1 });
  let left = commits;
  const die = () => {
    if (--left === 0) throw new Error('the process ended');
  };
  try {
    applyBatch(database, [job], { progress: new Progress(lane.options.progress), afterCommit: die });
  } finally {
    database.abandon();
  }
}

/** Sends a client's requests that may leave a transaction open, as the broker's session does. */
class Stream {
  readonly lane: TemporaryLane;
  transaction: string | undefined;
  outcome: AppliedOutcome | undefined;
  epoch = 1;

  constructor(lane: TemporaryLane) {
    this.lane = lane;
  }

  send(steps: readonly TestStep[], more: RequestOptions = {}): WireStepsResult {
    const tx = more.tx ?? this.transaction;
    const id = more.id ?? newStepsJobId(tx === undefined ? 'b' : 's');
    const job = stepsJob(steps, { i: 1, ...more, tx, id });
    this.outcome = applied(
      this.lane.lane.run({
        kind: 'apply',
        tenant: 'acme',
        epoch: this.epoch,
        jobs: [job],
        transaction: { id: tx ?? newTransactionId(), expiresAt: 1 },
      }),
    );
    const result = resultOf(this.outcome.jobs[0]);
    this.transaction = result.a === 1 ? undefined : (result.tx?.id ?? tx);
    return result;
  }
}

describe('steps among other writes', () => {
  it('run one after the other, an error in one not ending the others', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const [before, job, after] = lane.apply(
      writes("INSERT INTO parent VALUES (1, 'a')"),
      stepsJob([
        "INSERT INTO parent VALUES (2, 'b')",
        "INSERT INTO parent VALUES (2, 'c')",
        { sql: "INSERT INTO parent VALUES (3, 'c')", c: { type: 'ok', step: 1 } },
        { sql: 'SELECT id, name, count(*) OVER () FROM parent', c: { type: 'error', step: 1 } },
        'ATTACH DATABASE x AS y',
        'SELEC',
      ]),
      writes("INSERT INTO parent VALUES (4, 'd')"),
    );
    expect(before!.commitSeq).toBe(after!.commitSeq);
    expect(verdicts(job)).toEqual([
      'ok',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'skipped',
      'ok',
      'STATEMENT_NOT_ALLOWED',
      'SQLITE_ERROR',
    ]);
    const result = resultOf(job);
    expect(result).toMatchObject({ a: 1, seq: 0 });
    expect(result.q[0]).toMatchObject({ r: [1, 2] });
    expect(result.q[3]).toMatchObject({
      r: {
        c: ['id', 'name', 'count(*) OVER ()'],
        r: [
          [1, 'a', 2],
          [2, 'b', 2],
        ],
      },
      d: ['INTEGER', 'TEXT', null],
    });
    expect(lane.column('SELECT id FROM parent')).toEqual([1, 2, 4]);
  });

  it('share one commit with others also where they are a transaction, and leave nothing where it is rolled back', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const jobs = lane.apply(
      stepsJob([
        'BEGIN IMMEDIATE',
        { sql: "INSERT INTO parent VALUES (1, 'a')", c: { type: 'ok', step: 0 } },
        { sql: "INSERT INTO parent VALUES (1, 'a')", c: { type: 'ok', step: 1 } },
        { sql: 'COMMIT', c: { type: 'ok', step: 2 } },
        { sql: 'ROLLBACK', c: { type: 'not', cond: { type: 'ok', step: 3 } } },
      ]),
      writes("INSERT INTO parent VALUES (2, 'b')"),
      stepsJob(['BEGIN', "INSERT INTO parent VALUES (3, 'c')", 'COMMIT']),
    );
    expect(verdicts(jobs[0])).toEqual(['ok', 'ok', 'SQLITE_CONSTRAINT_PRIMARYKEY', 'skipped', 'ok']);
    expect(resultOf(jobs[0]).seq).toBeUndefined();
    expect(new Set(jobs.map(job => job.commitSeq)).size).toBe(1);
    expect(lane.column('SELECT id FROM parent')).toEqual([2, 3]);
  });

  it('roll a transaction back that is open at the end, and say so', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const job = lane.applyOne(stepsJob(['BEGIN', "INSERT INTO parent VALUES (1, 'a')"]));
    expect(resultOf(job)).toMatchObject({ a: 0 });
    expect(resultOf(job).tx).toBeUndefined();
    expect(lane.column('SELECT id FROM parent')).toEqual([]);
  });

  it('run alone where they end the transaction that others share', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const [, job] = lane.apply(
      writes("INSERT INTO parent VALUES (1, 'a')"),
      stepsJob([
        "INSERT INTO parent VALUES (2, 'b')",
        'BEGIN',
        "INSERT INTO parent VALUES (3, 'c')",
        "INSERT INTO parent VALUES (7, 'x')",
        { sql: "INSERT INTO parent VALUES (4, 'd')", c: { type: 'is_autocommit' } },
      ]),
      writes("INSERT INTO parent VALUES (5, 'e')"),
    );
    expect(verdicts(job)).toEqual(['ok', 'ok', 'ok', 'SQLITE_CONSTRAINT_TRIGGER', 'ok']);
    expect(lane.column('SELECT id FROM parent')).toEqual([1, 2, 4, 5]);
    expect(lane.column("SELECT key FROM sqlite_onewriter_keys WHERE key LIKE 'steps of %'")).toEqual([]);
  });

  it('return the stored results when they are redelivered', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    for (const job of [
      stepsJob(["INSERT INTO parent(name) VALUES ('a')", 'SELECT random()']),
      stepsJob(['SAVEPOINT s', "INSERT INTO parent(name) VALUES ('b')", 'RELEASE s', 'SELECT random()']),
    ]) {
      const first = lane.applyOne(job);
      const again = lane.applyOne(job);
      expect(again).toMatchObject({ duplicate: true, results: first.results, commitSeq: first.commitSeq });
    }
    expect(lane.column('SELECT count(*) FROM parent')).toEqual([2]);
  });

  it('continue after the last commit when their process ended between two', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const job = stepsJob([
      'SAVEPOINT s',
      "INSERT INTO parent(name) VALUES ('a')",
      'RELEASE s',
      { sql: "INSERT INTO parent(name) VALUES ('b'); INSERT INTO parent(name) VALUES ('c')", x: 1 },
      { sql: "INSERT INTO parent(name) VALUES ('d')", c: { type: 'ok', step: 3 } },
    ]);
    // SAVEPOINT … RELEASE, each statement of the script, and the last step are commits of their own.
    for (let commit = 1; commit <= 3; commit++) {
      expect(() => dieAtCommit(lane, job)).toThrow();
      // Numbered like any other, although the ledger has no row of it yet.
      expect(lane.commitSeq).toBe(1 + commit);
    }
    expect(lane.column('SELECT name FROM parent ORDER BY id')).toEqual(['a', 'b', 'c']);
    const done = lane.applyOne(job);
    expect(done.commitSeq).toBe(5);
    expect(verdicts(done)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok']);
    expect(lane.column('SELECT name FROM parent ORDER BY id')).toEqual(['a', 'b', 'c', 'd']);
    expect(lane.column("SELECT key FROM sqlite_onewriter_keys WHERE key LIKE 'steps of %'")).toEqual([]);
  });

  it('continue after the last commit of a long list, whose results are not written again with each commit', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(`${SCHEMA}; CREATE TABLE d(a REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`));
    const job = stepsJob(Array.from({ length: 2_100 }, () => 'INSERT INTO d VALUES (NULL)'));
    for (const [commits, parts] of [
      [999, 1],
      [1, 2],
      [1_000, 3],
      [50, 3],
    ]) {
      expect(() => dieAtCommit(lane, job, commits)).toThrow();
      expect(lane.column("SELECT count(*) FROM sqlite_onewriter_keys WHERE key LIKE 'steps of %'")).toEqual([
        parts,
      ]);
      const longest = Number(lane.column('SELECT max(length(result)) FROM sqlite_onewriter_keys')[0]);
      expect(longest).toBeLessThan(60_000);
    }
    expect(lane.column('SELECT count(*) FROM d')).toEqual([2_050]);
    const done = lane.applyOne(job);
    expect(verdicts(done)).toEqual(Array(2_100).fill('ok'));
    expect(lane.column('SELECT count(*) FROM d')).toEqual([2_100]);
    expect(lane.column("SELECT key FROM sqlite_onewriter_keys WHERE key LIKE 'steps of %'")).toEqual([]);
  });

  it('report which of them were committed before one was stopped', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const job = stepsJob([
      'SAVEPOINT s',
      "INSERT INTO parent(name) VALUES ('a')",
      'RELEASE s',
      "INSERT INTO parent(name) VALUES ('b')",
      "INSERT INTO parent(name) VALUES ('c')",
    ]);
    expect(() => dieAtCommit(lane, job)).toThrow();
    const stopped = { code: 'STATEMENT_TIMEOUT', message: 'It was not applied.' };
    const done = lane.applyOne({ ...job, poisoned: { 0: stopped } });
    expect(verdicts(done)).toEqual(['ok', 'ok', 'ok', 'STATEMENT_TIMEOUT', 'skipped']);
    expect(lane.column('SELECT name FROM parent ORDER BY id')).toEqual(['a']);
    expect(lane.column("SELECT key FROM sqlite_onewriter_keys WHERE key LIKE 'steps of %'")).toEqual([]);
    expect(lane.applyOne(job)).toMatchObject({ duplicate: true, results: done.results });
  });
});

describe('a step that is only compiled', () => {
  it('has the columns of the present schema', () => {
    const lane = new TemporaryLane();
    lane.apply(script('CREATE TABLE t(a)'), stepsJob(['INSERT INTO t VALUES (1) RETURNING *']));
    const look = queuedJob(['INSERT INTO t VALUES (1) RETURNING *'], [{ q: [{ s: 0, d: 1 }] }]);
    lane.applyOne(script('DROP TABLE t; CREATE TABLE t(renamed)'));
    expect(resultOf(lane.applyOne(look)).q[0]).toMatchObject({ r: { c: ['renamed'], r: [] } });
  });
});

describe('an interactive transaction', () => {
  it('stays open between requests, and commits with its entry in the ledger', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    const begun = stream.send(['BEGIN IMMEDIATE', "INSERT INTO parent(name) VALUES ('a')"]);
    expect(begun).toMatchObject({ a: 0, tx: { id: stream.transaction, until: 1 } });
    expect(stream.outcome).toMatchObject({ open: stream.transaction, jobs: [{ commitSeq: 0 }] });
    expect(stream.send(['SELECT name FROM parent']).q[0]).toMatchObject({ r: { r: [['a']] } });
    expect(lane.column('SELECT name FROM parent')).toEqual([]);
    const id = newStepsJobId('s');
    const committed = stream.send(["INSERT INTO parent(name) VALUES ('b')", 'COMMIT'], { id });
    expect(committed).toMatchObject({ a: 1, seq: 2 });
    expect(stream.outcome).toMatchObject({ jobs: [{ commitSeq: 2 }] });
    expect(stream.outcome!.open).toBeUndefined();
    expect(stream.outcome!.jobs[0]!.answer).toBeUndefined();
    expect(lane.column('SELECT name FROM parent')).toEqual(['a', 'b']);
    const [row] = lane.rows('SELECT next_op, results FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1');
    expect(row).toEqual([null, stream.outcome!.jobs[0]!.results]);
    // Redelivered, to any broker: the stored answer.
    const again = new Stream(lane);
    expect(again.send(['COMMIT'], { id, tx: begun.tx!.id })).toEqual(committed);
    expect(again.outcome!.jobs[0]).toMatchObject({ duplicate: true });
  });

  it('runs no step twice that is delivered twice', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(['BEGIN']);
    const id = newStepsJobId('s');
    const first = stream.send(["INSERT INTO parent(name) VALUES ('a')"], { id });
    expect(stream.send(["INSERT INTO parent(name) VALUES ('a')"], { id })).toEqual(first);
    stream.send(["INSERT INTO parent(name) VALUES ('b')"]);
    const { transaction } = stream;
    // Older than the newest: its answer is not here any more.
    expect(() => stream.send(["INSERT INTO parent(name) VALUES ('a')"], { id })).toThrow('no steps');
    expect(stream.outcome).toMatchObject({ open: transaction, jobs: [{ duplicate: true, results: '' }] });
    stream.send(['COMMIT']);
    expect(lane.column('SELECT name FROM parent')).toEqual(['a', 'b']);
  });

  it('is rolled back by a batch of others, and then answers TRANSACTION_TIMEOUT until ROLLBACK', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(['BEGIN IMMEDIATE', "INSERT INTO parent(name) VALUES ('a')"]);
    lane.applyOne(writes("INSERT INTO parent(name) VALUES ('other')"));
    const late = stream.send(["INSERT INTO parent(name) VALUES ('b')", 'COMMIT']);
    expect(late.q.map(verdictOf)).toEqual(['TRANSACTION_TIMEOUT', 'TRANSACTION_TIMEOUT']);
    expect(late).toMatchObject({ a: 0 });
    expect(late.tx).toBeUndefined();
    const rolled = stream.send([
      "INSERT INTO parent(name) VALUES ('c')",
      'ROLLBACK',
      "INSERT INTO parent(name) VALUES ('d')",
    ]);
    expect(rolled.q.map(verdictOf)).toEqual(['TRANSACTION_TIMEOUT', 'ok', 'ok']);
    expect(rolled).toMatchObject({ a: 1 });
    expect(lane.column('SELECT name FROM parent')).toEqual(['other', 'd']);
  });

  it('that was committed does not claim to later steps that nothing of it was', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('a')"]);
    const { transaction } = stream;
    stream.send(['COMMIT']);
    // Its answer was lost: the client sends it again.
    stream.transaction = transaction;
    const [again] = stream.send(['COMMIT']).q;
    expect(again).toMatchObject({
      e: { message: expect.stringContaining('unless a COMMIT was sent in it') },
    });
    expect(lane.column('SELECT name FROM parent')).toEqual(['a']);
  });

  it('is not touched by the stream of a transaction that is gone', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const old = new Stream(lane);
    old.send(['BEGIN', "INSERT INTO parent(name) VALUES ('old')"]);
    const stream = new Stream(lane);
    stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('new')"]);
    const late = old.send(['COMMIT', 'ROLLBACK', "INSERT INTO parent(name) VALUES ('x')"]);
    expect(late.q.map(verdictOf)).toEqual(['TRANSACTION_TIMEOUT', 'ok', 'TRANSACTION_BUSY']);
    expect(old.outcome!.open).toBe(stream.transaction);
    stream.send(['COMMIT']);
    expect(lane.column('SELECT name FROM parent')).toEqual(['new']);
  });

  it('ends with its process, with another epoch, and when another broker took over', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('a')"]);
    stream.epoch = 2;
    expect(stream.send(['COMMIT']).q.map(verdictOf)).toEqual(['TRANSACTION_TIMEOUT']);
    stream.send(['ROLLBACK']);
    TenantDatabase.open('acme', { ...lane.options, epoch: 3 }).close();
    expect(() => stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('b')"])).toThrow('newer broker');
    expect(lane.column('SELECT name FROM parent')).toEqual([]);
  });

  it('keeps savepoints between requests', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('a')", 'SAVEPOINT "Inner"']);
    stream.send(["INSERT INTO parent(name) VALUES ('b')", 'ROLLBACK TO inner', 'RELEASE inner']);
    expect(stream.send(['RELEASE inner', 'COMMIT']).q.map(verdictOf)).toEqual(['SQLITE_ERROR', 'ok']);
    expect(lane.column('SELECT name FROM parent')).toEqual(['a']);
  });

  it('runs nothing where the tenant has moved on from the expected commit', () => {
    const lane = new TemporaryLane();
    const { commitSeq } = lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    lane.applyOne(writes("INSERT INTO parent(name) VALUES ('a')"));
    expect(() => stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('b')"], { at: commitSeq })).toThrow(
      'SNAPSHOT_STALE',
    );
    // An equal number in another file is another commit.
    const at = commitSeq + 1;
    expect(() => stream.send(['BEGIN'], { at, in: '0123456789abcdef0123' })).toThrow('SNAPSHOT_STALE');
    expect(stream.send(['BEGIN'], { at, in: '' })).toMatchObject({ a: 0 });
  });

  it('does not begin for a client whose deadline is over', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    expect(() =>
      stream.send(['BEGIN', "INSERT INTO parent VALUES (1, 'a')"], { by: Date.now() - 1 }),
    ).toThrow('TRANSACTION_BUSY');
    expect(stream.outcome!.open).toBeUndefined();
    // One that has begun continues.
    stream.send(['BEGIN'], { by: Date.now() + 60_000 });
    expect(stream.send(['COMMIT'], { by: Date.now() - 1 })).toMatchObject({ a: 1 });
  });

  it('is kept open when its thread needs room for other tenants, and refused when too many are', () => {
    const lane = new TemporaryLane({ maxOpenTenants: 2 });
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(['BEGIN', "INSERT INTO parent(name) VALUES ('a')"]);
    for (const tenant of ['b', 'c', 'd']) applied(lane.run([script(SCHEMA)], { tenant }));
    const refused = applied(
      lane.lane.run({
        kind: 'apply',
        tenant: 'b',
        epoch: 1,
        jobs: [stepsJob(['BEGIN'], { id: newStepsJobId('b'), i: 1 })],
        transaction: { id: newTransactionId(), expiresAt: 1 },
      }),
    );
    expect(verdicts(refused.jobs[0])).toEqual(['TRANSACTION_BUSY']);
    stream.send(['COMMIT']);
    expect(lane.column('SELECT name FROM parent')).toEqual(['a']);
  });
});

describe('PRAGMAs that steps set', () => {
  const migration: readonly TestStep[] = [
    'PRAGMA foreign_keys=off',
    'BEGIN DEFERRED',
    'DROP TABLE parent',
    'CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT, more TEXT)',
    'INSERT INTO parent(id) VALUES (1)',
    'PRAGMA foreign_keys',
  ];

  it('lets a migration rebuild a table that others refer to, and is reset afterwards', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    lane.apply(writes("INSERT INTO parent(id, name) VALUES (1, 'a')", 'INSERT INTO child VALUES (1, 1)'));
    const job = lane.applyOne(stepsJob([...migration, 'COMMIT', 'PRAGMA foreign_keys']));
    expect(new Set(verdicts(job))).toEqual(new Set(['ok']));
    expect(resultOf(job).q[5]).toMatchObject({ r: { r: [[0]] } });
    expect(resultOf(job).q[7]).toMatchObject({ r: { r: [[0]] } });
    expect(lane.column('SELECT count(*) FROM child')).toEqual([1]);
    const [after] = lane.apply(writes('INSERT INTO child VALUES (2, 99)', 'PRAGMA foreign_keys'));
    expect(resultsOf(after).map(result => 'e' in result)).toEqual([true, false]);
    expect(resultsOf(after)[1]).toMatchObject({ r: [[1]] });
  });

  it('is reset where the transaction is taken away', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(SCHEMA));
    const stream = new Stream(lane);
    stream.send(migration);
    const [after] = lane.apply(writes('PRAGMA foreign_keys'));
    expect(resultsOf(after)[0]).toMatchObject({ r: [[1]] });
  });

  describe('in a session of several requests', () => {
    const OFF = 'PRAGMA foreign_keys=off';
    const REBUILD = [
      'BEGIN',
      'DROP TABLE parent',
      'CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT)',
      "INSERT INTO parent VALUES (1, 'new')",
    ];

    /** A session that begins each request with what the one before it ended with. */
    function openSession() {
      const lane = new TemporaryLane();
      lane.applyOne(script(SCHEMA));
      lane.apply(writes("INSERT INTO parent VALUES (1, 'a')", 'INSERT INTO child VALUES (1, 1)'));
      const stream = new Stream(lane);
      let fk: 0 | 1 = 1;
      const send = (...steps: string[]) => {
        const result = stream.send(steps, { fk });
        fk = result.fk!;
        const errors = result.q.flatMap(step => (step !== 0 && 'e' in step ? [step.e.message] : []));
        return { fk, errors };
      };
      return { lane, send };
    }

    it('hold from one request to the next, through transactions, until they are on', () => {
      const { lane, send } = openSession();
      expect(send(OFF)).toEqual({ fk: 0, errors: [] });
      // No other write is without foreign keys.
      expect(resultsOf(lane.applyOne(writes('INSERT INTO child VALUES (9, 99)')))[0]).toHaveProperty('e');
      for (const sql of [...REBUILD, 'COMMIT']) expect(send(sql)).toEqual({ fk: 0, errors: [] });
      expect(lane.rows('SELECT * FROM child')).toEqual([[1, 1]]);
      expect(send('PRAGMA foreign_keys=on')).toEqual({ fk: 1, errors: [] });
      expect(send('INSERT INTO child VALUES (2, 99)').errors).toEqual([expect.stringMatching(/FOREIGN KEY/)]);
    });

    it('refuse outside a transaction what breaks a reference, with what to do', () => {
      const { lane, send } = openSession();
      send(OFF);
      expect(send('DROP TABLE parent')).toEqual({
        fk: 0,
        errors: [expect.stringMatching(/child row 1 → parent.*between BEGIN and COMMIT/)],
      });
      expect(lane.rows('SELECT count(*) FROM parent')).toEqual([[1]]);
    });

    it('end with the transaction in which they were set', () => {
      const { send } = openSession();
      expect(send('BEGIN')).toEqual({ fk: 1, errors: [] });
      expect(send(OFF)).toEqual({ fk: 1, errors: [] });
      for (const sql of REBUILD.slice(1)) expect(send(sql)).toEqual({ fk: 1, errors: [] });
      expect(send('COMMIT', 'PRAGMA foreign_keys')).toEqual({ fk: 1, errors: [] });
      expect(send('INSERT INTO child VALUES (2, 99)').errors).toHaveLength(1);
    });

    it('are on behind the transaction that asks for it after it has written', () => {
      const { send } = openSession();
      send(OFF);
      for (const sql of REBUILD) send(sql);
      expect(send('PRAGMA foreign_keys=on')).toEqual({ fk: 1, errors: [] });
      expect(send('COMMIT')).toEqual({ fk: 1, errors: [] });
    });
  });

  it.each(['foreign_keys=off', 'defer_foreign_keys=on'])(
    'is refused where only reads follow it: %s',
    pragma => {
      const lane = new TemporaryLane();
      lane.applyOne(script(SCHEMA));
      for (const rest of [['SELECT 1'], [{ sql: 'SELECT 1; PRAGMA table_list', x: 1 } as const], []]) {
        const job = lane.applyOne(stepsJob([`PRAGMA ${pragma}`, ...rest]));
        expect(verdicts(job)[0]).toBe('STATEMENT_NOT_ALLOWED');
      }
    },
  );
});

/** The result of the same steps in SQLite itself, on a separate connection. */
class Reference {
  readonly db = new Database(':memory:');
  readonly ok: boolean[] = [];

  constructor(schema: string) {
    this.db.pragma('foreign_keys = ON');
    this.db.exec(schema);
  }

  run(steps: readonly TestStep[]): string[] {
    this.ok.length = 0;
    return steps.map((step, index) => {
      const { sql, c, x } = typeof step === 'string' ? { sql: step, c: undefined, x: undefined } : step;
      const states = { isOk: (at: number) => this.ok[at] === true, autocommit: !this.db.inTransaction };
      if (c !== undefined && !isMet(c, states)) {
        this.ok[index] = false;
        return 'skipped';
      }
      try {
        this.ok[index] = true;
        if (x === 1) {
          this.db.exec(sql);
          return 'ok';
        }
        const statement = this.db.prepare(sql);
        if (!statement.reader) statement.run();
        else return `ok ${JSON.stringify(statement.raw().all())}`;
        return 'ok';
      } catch (error) {
        this.ok[index] = false;
        return (error as { code: string }).code;
      }
    });
  }

  get rows(): unknown {
    return [
      this.db.prepare('SELECT * FROM parent ORDER BY id').raw().all(),
      this.db.prepare('SELECT * FROM child ORDER BY id').raw().all(),
    ];
  }
}

function randomSteps(random: () => number, withSavepoints: boolean): TestStep[] {
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)]!;
  const id = () => Math.floor(random() * 9);
  const condition = (index: number): StepCondition => {
    const step = Math.floor(random() * index);
    const simple: StepCondition =
      random() < 0.2 ? { type: 'is_autocommit' } : { type: pick(['ok', 'error']), step };
    return random() < 0.3 ? { type: 'not', cond: simple } : simple;
  };
  const statement = () =>
    pick([
      () => `INSERT INTO parent VALUES (${id()}, 'n${id()}')`,
      () => `INSERT INTO parent VALUES (${id()}, 'n${id()}')`,
      () => `INSERT OR ROLLBACK INTO parent VALUES (${id()}, 'n${id()}')`,
      () => `INSERT INTO child VALUES (${id()}, ${id()})`,
      () => `DELETE FROM parent WHERE id = ${id()}`,
      () => `UPDATE OR REPLACE parent SET name = 'n${id()}' WHERE id > ${id()} RETURNING id, name`,
      () => 'SELECT count(*), (SELECT count(*) FROM child) FROM parent',
    ])();
  const control = () =>
    pick([
      ...['BEGIN', 'BEGIN IMMEDIATE', 'COMMIT', 'END TRANSACTION', 'ROLLBACK', 'BEGIN CONCURRENT'],
      ...(withSavepoints ? ['SAVEPOINT a', 'SAVEPOINT b', 'RELEASE a', 'RELEASE "B"', 'ROLLBACK TO a'] : []),
    ]);
  return Array.from({ length: 1 + Math.floor(random() * 12) }, (_, index) => {
    const c = index > 0 && random() < 0.3 ? { c: condition(index) } : {};
    if (random() < 0.1) return { sql: [statement(), statement(), control()].join('; '), x: 1 as const, ...c };
    return { sql: random() < 0.4 ? control() : statement(), ...c };
  });
}

const seen = (steps: readonly WireStepResult[]) =>
  steps.map(step => {
    const verdict = verdictOf(step);
    return step !== 0 && 'r' in step && 'c' in step.r ? `ok ${JSON.stringify(step.r.r)}` : verdict;
  });

const currentRows = (lane: TemporaryLane) => [
  lane.rows('SELECT * FROM parent ORDER BY id'),
  lane.rows('SELECT * FROM child ORDER BY id'),
];

describe('steps and SQLite’s own transactions', () => {
  it.each([
    { what: 'shared with others', schema: SCHEMA, withSavepoints: false },
    { what: 'of their own, for savepoints', schema: SCHEMA, withSavepoints: true },
    { what: 'of their own, for deferred keys', schema: DEFERRED, withSavepoints: false },
  ])(
    'come to the same, request for request: transactions $what',
    ({ schema, withSavepoints }) => {
      for (let seed = 1; seed <= 25; seed++) {
        const random = createRandom(seed);
        const lane = new TemporaryLane();
        const reference = new Reference(schema);
        lane.applyOne(script(schema));
        for (let request = 0; request < 4; request++) {
          const steps = randomSteps(random, withSavepoints);
          const where = `seed ${seed}: ${JSON.stringify(steps)}`;
          const job = lane.applyOne(stepsJob(steps));
          expect(seen(resultOf(job).q), where).toEqual(reference.run(steps));
          expect(resultOf(job).a === 1, where).toBe(!reference.db.inTransaction);
          if (reference.db.inTransaction) reference.db.exec('ROLLBACK');
          expect(currentRows(lane), where).toEqual(reference.rows);
        }
        lane.lane.close();
        reference.db.close();
      }
    },
    60_000,
  );

  it('come to the same where transactions stay open between requests', () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = createRandom(seed);
      const lane = new TemporaryLane();
      const schema = seed % 2 === 0 ? SCHEMA : DEFERRED;
      const reference = new Reference(schema);
      lane.applyOne(script(schema));
      const stream = new Stream(lane);
      for (let request = 0; request < 6; request++) {
        const steps = randomSteps(random, true);
        const where = `seed ${seed}: ${JSON.stringify(steps)}`;
        const result = stream.send(steps);
        expect(seen(result.q), where).toEqual(reference.run(steps));
        expect(result.a === 1, where).toBe(!reference.db.inTransaction);
        if (!reference.db.inTransaction) expect(currentRows(lane), where).toEqual(reference.rows);
      }
      lane.lane.close();
      reference.db.close();
    }
  }, 60_000);
});
