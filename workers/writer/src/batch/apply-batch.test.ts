import { newJobId } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import {
  applied,
  queuedJob,
  refused,
  resultsOf,
  script,
  TemporaryLane,
  verdicts,
  writes,
} from '../../test-support/temporary-lane.ts';
import { TenantDatabase } from '../file/tenant-database.ts';
import type { QueuedJob } from '../thread/lane-task.ts';
import { PROGRESS_BYTES, Progress } from '../thread/progress.ts';
import { applyBatch, BatchFailed } from './apply-batch.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE)');
const insert = (from: number, count: number) =>
  queuedJob(
    ['INSERT INTO t VALUES (?, ?)'],
    Array.from({ length: count }, (_, index) => ({ s: 0, p: [from + index, `a${from + index}`] })),
  );

describe('applying a batch', () => {
  it('commits 99 writes of a job beside one that violates a constraint', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    lane.applyOne(insert(50, 1));
    const job = lane.applyOne(insert(1, 100));
    expect(job).toMatchObject({ writes: 100, failures: 1, duplicate: false, commitSeq: 3 });
    expect(resultsOf(job)[49]).toEqual({
      e: {
        code: 'CONSTRAINT_VIOLATION',
        message: 'UNIQUE constraint failed: t.id',
        details: { sqliteCode: 'SQLITE_CONSTRAINT_PRIMARYKEY' },
      },
    });
    expect(resultsOf(job)[48]).toEqual([1, 49]);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([100]);
  });

  it('keeps nothing of a write that failed, or was run again for its rowid', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    lane.applyOne(script('CREATE TABLE other(id INTEGER PRIMARY KEY)'));
    const database = openTenant(lane);
    const options = { progress: new Progress(new SharedArrayBuffer(PROGRESS_BYTES)) };
    for (const sql of [
      'INSERT INTO t VALUES (1, 1)',
      'INSERT INTO other VALUES (1)',
      'INSERT INTO t VALUES (1, 1)',
    ]) {
      applyBatch(database, [queuedJob([sql], [{ s: 0 }])], options);

      expect(database.runner.failure).toBeUndefined();
    }
  });

  it('answers results in the form of the protocol', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const job = lane.applyOne(
      queuedJob(
        [
          "INSERT INTO t(a) VALUES ('x')",
          'UPDATE t SET a = upper(a) RETURNING id, a AS "A"',
          'SELECT 1 AS one WHERE 0',
          "INSERT INTO t(a) VALUES ('y') RETURNING id",
          'DELETE FROM t WHERE id = 99',
        ],
        [{ s: 0 }, { s: 1 }, { s: 2 }, { t: [{ s: 3 }, { s: 4 }] }],
      ),
    );
    expect(JSON.parse(job.results)).toEqual([
      [1, 1],
      { c: ['id', 'A'], r: [[1, 'X']], n: 1, i: 0 },
      { c: ['one'], r: [], n: 0, i: 0 },
      { t: [{ c: ['id'], r: [[2]], n: 1, i: 2 }, [0, 0]] },
    ]);
  });

  it('returns the stored results of a redelivered job, and applies nothing', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const job = insert(1, 3);
    const first = lane.applyOne(job);
    const outcome = lane.run([job]);
    expect(outcome).toMatchObject({ kind: 'applied', stats: { commits: 0 } });
    expect(lane.applyOne(job)).toEqual({ ...first, duplicate: true });
    // Beside a new job, and twice in one batch.
    const fresh = insert(10, 1);
    const [again, added, twin] = lane.apply(job, fresh, fresh);
    expect(again).toEqual({ ...first, duplicate: true });
    expect(added).toMatchObject({ duplicate: false, commitSeq: 3, results: '[[1,10]]' });
    expect(twin).toEqual(added);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([4]);
  });

  it('leaves a job it cannot read to its error, and the others alone', () => {
    const lane = new TemporaryLane();
    const jobs = lane.apply(
      { id: newJobId(), data: 'not json' },
      { id: newJobId(), data: JSON.stringify({ v: 99, client: 'c-new', sql: [], ops: [{}] }) },
      queuedJob([], []),
      queuedJob(['SELECT 1'], Array(501).fill({ s: 0 })),
      TABLE,
    );
    expect(jobs.map(job => job.error?.code)).toEqual([
      'INVALID_ARGUMENT',
      'UNSUPPORTED_VERSION',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      undefined,
    ]);
    expect(jobs[1]).toMatchObject({ client: 'c-new', results: '', commitSeq: 0 });
    expect(lane.column('SELECT count(*) FROM sqlite_onewriter_ledger')).toEqual([1]);
  });

  it('does not run poisoned writes, and answers with their error', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const error = { code: 'POISON_JOB', message: 'set aside' };
    const [one, all] = lane.apply(
      { ...insert(1, 3), poisoned: { 1: error } },
      { ...insert(10, 2), poisoned: { [-1]: error } },
    );
    expect(resultsOf(one)).toEqual([[1, 1], { e: error }, [1, 3]]);
    expect(resultsOf(all)).toEqual([{ e: error }, { e: error }]);
    expect(lane.column('SELECT id FROM t')).toEqual([1, 3]);
    expect(lane.column('SELECT count(*) FROM sqlite_onewriter_ledger WHERE next_op IS NULL')).toEqual([3]);
  });

  it('lists failed writes that no caller waits for as dead letters, also when redelivered', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const job = queuedJob(
      ['INSERT INTO t VALUES (1, ?)', 'INSERT INTO nowhere VALUES (1)'],
      [
        { s: 0, p: ['a'], d: 1 },
        { s: 0, p: ['b'], d: 1 },
        { s: 0, p: ['c'] },
        { t: [{ s: 0, p: ['d'] }, { s: 1 }], d: 1 },
      ],
    );
    const expected = [
      {
        receiptId: `${job.id}.1`,
        sql: 'INSERT INTO t VALUES (1, ?)',
        error: { code: 'CONSTRAINT_VIOLATION' },
      },
      { receiptId: `${job.id}.3`, error: { code: 'CONSTRAINT_VIOLATION', details: { statementIndex: 0 } } },
    ];
    expect(lane.applyOne(job)).toMatchObject({ failures: 3, deadLetters: expected });
    expect(lane.applyOne(job)).toMatchObject({ failures: 3, duplicate: true, deadLetters: expected });
  });

  it('counts commit_seq without holes, whatever is rolled back', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    lane.apply(insert(1, 3), writes('INSERT OR ROLLBACK INTO t VALUES (1, NULL)'), insert(4, 3));
    lane.applyOne(writes('SELEC'));
    const seqs = lane.column<number>('SELECT DISTINCT commit_seq FROM sqlite_onewriter_ledger ORDER BY 1');
    expect(seqs).toEqual(Array.from({ length: lane.commitSeq }, (_, index) => index + 1));
  });

  it('numbers on where the last row of the ledger is not the newest commit', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const split = writes(
      "INSERT INTO t VALUES (1, 'a')",
      'INSERT OR ROLLBACK INTO t VALUES (1, NULL)',
      "INSERT INTO t VALUES (2, 'b')",
    );
    const database = openTenant(lane);
    const crash = () => {
      throw new TypeError('crash');
    };
    expect(() =>
      applyBatch(database, [split], { progress: new Progress(lane.options.progress), afterCommit: crash }),
    ).toThrow('crash');
    database.abandon();
    // Another row overtakes it; the remaining commit adds no row.
    expect(lane.applyOne(insert(10, 1)).commitSeq).toBe(3);
    expect(lane.applyOne(split)).toMatchObject({ commitSeq: 4, failures: 1 });
    expect(lane.commitSeq).toBe(4);
    expect(lane.applyOne(insert(11, 1)).commitSeq).toBe(5);
    expect(lane.column('SELECT commit_seq FROM sqlite_onewriter_ledger ORDER BY id')).toEqual([1, 4, 3, 5]);
  });
});

describe('foreign keys that are checked at COMMIT', () => {
  const CHILDREN = script(`
    CREATE TABLE parents(id INTEGER PRIMARY KEY);
    CREATE TABLE children(id INTEGER PRIMARY KEY, parent REFERENCES parents(id) DEFERRABLE INITIALLY DEFERRED);`);
  const child = (id: number) => `INSERT INTO children VALUES (${id}, ${id})`;
  const parent = (id: number) => `INSERT INTO parents VALUES (${id})`;

  it("are judged at the end of each caller's write, never by other writes of the same group", () => {
    const lane = new TemporaryLane();
    lane.apply(CHILDREN);
    const jobs = lane.apply(
      ...Array.from({ length: 60 }, (_, id) => [writes(child(id)), writes(parent(id))]).flat(),
      queuedJob(
        [child(100), parent(100), child(101), parent(102), child(102)],
        [{ t: [{ s: 0 }, { s: 1 }] }, { s: 2 }, { t: [{ s: 3 }, { s: 4 }] }],
      ),
    );
    const refused = ['SQLITE_CONSTRAINT_FOREIGNKEY'];
    expect(jobs.slice(0, 120).map(verdicts)).toEqual(
      jobs.slice(0, 120).map((_, index) => (index % 2 === 0 ? refused : ['ok'])),
    );
    expect(verdicts(jobs[120])).toEqual(['ok', ...refused, 'ok']);
    expect(lane.column('SELECT id FROM children')).toEqual([100, 102]);
  });

  it('are noticed where the batch itself makes the first of them', () => {
    const lane = new TemporaryLane();
    const [made, ...jobs] = lane.apply(CHILDREN, writes(child(1)), writes(parent(1)), writes(child(1)));
    expect([made, ...jobs].map(verdicts)).toEqual([['ok'], ['SQLITE_CONSTRAINT_FOREIGNKEY'], ['ok'], ['ok']]);
  });

  it('leave the flush to the caller, because there is a commit for each write', () => {
    const lane = new TemporaryLane();
    lane.apply(CHILDREN);
    const outcome = applied(lane.run([writes(parent(1), parent(2))]));
    expect(outcome.unflushed).toMatchObject({ path: `${lane.file}-wal` });
    expect(outcome.stats.commits).toBe(2);
    // The same tenant without them flushes as requested.
    lane.apply(script('DROP TABLE children'));
    expect(applied(lane.run([writes(parent(3), parent(4))]))).toMatchObject({
      unflushed: undefined,
      stats: { commits: 1 },
    });
  });
});

describe('a write that ends the transaction of others', () => {
  const around = (...bad: string[]) => [insert(100, 3), writes(...bad), insert(200, 3)];

  it.each([
    ['OR ROLLBACK', 'INSERT OR ROLLBACK INTO t VALUES (1, NULL)', 'SQLITE_CONSTRAINT_PRIMARYKEY', []],
    ['RAISE(ROLLBACK)', "INSERT INTO guarded VALUES ('rollback')", 'SQLITE_CONSTRAINT_TRIGGER', []],
    [
      'OR FAIL, which keeps the rows before',
      'INSERT OR FAIL INTO t VALUES (300, NULL), (1, NULL), (301, NULL)',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      [300],
    ],
    [
      'RAISE(FAIL), which keeps the rows before',
      "INSERT INTO guarded VALUES ('fine'), ('fail'), ('never')",
      'SQLITE_CONSTRAINT_TRIGGER',
      ['fine', 'fail'],
    ],
    ['a deferred foreign key', 'INSERT INTO child VALUES (1, 77)', 'SQLITE_CONSTRAINT_FOREIGNKEY', []],
  ])('touches no write of other callers with %s', (name, bad, code, kept) => {
    const lane = new TemporaryLane();
    lane.apply(
      TABLE,
      script(`
      CREATE TABLE guarded(a TEXT);
      CREATE TRIGGER guard AFTER INSERT ON guarded BEGIN
        SELECT CASE new.a WHEN 'rollback' THEN RAISE(ROLLBACK, 'no') WHEN 'fail' THEN RAISE(FAIL, 'no') END;
      END;
      ${name.includes('deferred') ? 'CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED);' : ''}
    `),
      insert(1, 1),
    );
    const jobs = lane.apply(
      ...around("INSERT INTO t VALUES (400, 'mine')", bad, "INSERT INTO t VALUES (401, 'mine too')"),
    );
    expect(jobs.map(verdicts)).toEqual([
      ['ok', 'ok', 'ok'],
      ['ok', code, 'ok'],
      ['ok', 'ok', 'ok'],
    ]);
    const ids = kept.filter(value => typeof value === 'number');
    expect(lane.column('SELECT id FROM t')).toEqual([1, 100, 101, 102, 200, 201, 202, ...ids, 400, 401]);
    expect(lane.column('SELECT a FROM guarded')).toEqual(kept.filter(value => typeof value === 'string'));
    expect(lane.column('SELECT count(*) FROM sqlite_onewriter_ledger WHERE next_op IS NOT NULL')).toEqual([
      0,
    ]);
    // The stored results equal the answers.
    expect(
      lane.apply(...jobs.map(job => ({ id: job.id, data: around(bad)[0]!.data }))).map(verdicts),
    ).toEqual(jobs.map(verdicts));
  });

  it.each(['fts4', 'fts5'])('is left out where an undone %s table refuses every COMMIT', module => {
    const lane = new TemporaryLane();
    lane.apply(TABLE);
    const guilty = () =>
      queuedJob(
        [
          `CREATE VIRTUAL TABLE words USING ${module}(a)`,
          "INSERT INTO words VALUES ('x')",
          'INSERT INTO nope VALUES (1)',
        ],
        [{ t: [{ s: 0 }, { s: 1 }, { s: 2 }] }],
      );
    const jobs = lane.apply(insert(100, 10), guilty(), insert(200, 10), guilty());
    const all = Array.from({ length: 10 }, () => 'ok');
    expect(jobs.map(verdicts)).toEqual([all, ['SQLITE_ERROR'], all, ['SQLITE_ERROR']]);
    expect(resultsOf(jobs[1])).toMatchObject([
      { e: { message: 'no such table: nope', details: { statementIndex: 2 } } },
    ]);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([20]);
    // The tenant is as good as before.
    const words = (...sql: string[]) => queuedJob(sql, [{ t: sql.map((_, s) => ({ s })) }]);
    const make = [
      `CREATE VIRTUAL TABLE words USING ${module}(a)`,
      "INSERT INTO words VALUES ('one'), ('two')",
    ];
    expect(lane.apply(words(...make), words('DROP TABLE words', ...make)).map(verdicts)).toEqual([
      ['ok'],
      ['ok'],
    ]);
    expect(lane.column("SELECT rowid FROM words WHERE words MATCH 'two'")).toEqual([2]);
  });

  it('is cut out however many there are, and all of a job may be', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, insert(1, 1));
    const bad = 'INSERT OR ROLLBACK INTO t VALUES (1, NULL)';
    const [first, second, third] = lane.apply(
      writes(bad, bad, bad),
      writes("INSERT INTO t VALUES (2, 'b')", bad, "INSERT INTO t VALUES (3, 'c')", bad),
      insert(10, 2),
    );
    const code = 'SQLITE_CONSTRAINT_PRIMARYKEY';
    expect([first, second, third].map(verdicts)).toEqual([
      [code, code, code],
      ['ok', code, 'ok', code],
      ['ok', 'ok'],
    ]);
    expect(lane.column('SELECT id FROM t')).toEqual([1, 2, 3, 10, 11]);
  });

  it('is cut out of several deferred violations', () => {
    const lane = new TemporaryLane();
    lane.apply(
      TABLE,
      insert(1, 1),
      script('CREATE TABLE child(parent REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)'),
    );
    const parents = [1, 7, 1, 1, 8, 9, 1];
    const job = lane.applyOne(
      queuedJob(
        ['INSERT INTO child VALUES (?)'],
        parents.map(parent => ({ s: 0, p: [parent] })),
      ),
    );
    expect(verdicts(job)).toEqual(
      parents.map(parent => (parent === 1 ? 'ok' : 'SQLITE_CONSTRAINT_FOREIGNKEY')),
    );
    expect(lane.column('SELECT parent FROM child')).toEqual([1, 1, 1, 1]);
  });

  it('fails whole and alone where it is a transaction or a script', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, insert(1, 1));
    const sql = ["INSERT INTO t VALUES (5, 'five')", 'INSERT OR ROLLBACK INTO t VALUES (1, NULL)'];
    const [before, mixed, after] = lane.apply(
      insert(100, 1),
      queuedJob([...sql, sql.join(';')], [{ t: [{ s: 0 }, { s: 1 }] }, { x: 2 }]),
      insert(200, 1),
    );
    expect([before, mixed, after].map(verdicts)).toEqual([
      ['ok'],
      ['SQLITE_CONSTRAINT_PRIMARYKEY', 'SQLITE_CONSTRAINT_PRIMARYKEY'],
      ['ok'],
    ]);
    expect(resultsOf(mixed)[0]).toMatchObject({ e: { details: { statementIndex: 1 } } });
    expect(lane.column('SELECT id FROM t')).toEqual([1, 100, 200]);
  });

  it('fills the database alone', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, script('CREATE TABLE blobs(b)'));
    const database = openTenant(lane);
    database.db.pragma('max_page_count = 40');
    const { jobs } = applyBatch(
      database,
      [insert(1, 2), writes('INSERT INTO blobs VALUES (zeroblob(1000000))'), insert(3, 2)],
      { progress: new Progress(lane.options.progress) },
    );
    database.close();
    expect(jobs.map(verdicts)).toEqual([['ok', 'ok'], ['SQLITE_FULL'], ['ok', 'ok']]);
    expect(lane.column('SELECT id FROM t')).toEqual([1, 2, 3, 4]);
  });
});

describe('a crash between the transactions of one batch', () => {
  it.each([1, 2, 3])('resumes after commit %i where the ledger says it stopped', crashAfter => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, insert(1, 1));
    const bad = 'INSERT OR ROLLBACK INTO t VALUES (1, NULL)';
    const jobs: QueuedJob[] = [
      insert(10, 2),
      writes(
        "INSERT INTO t VALUES (20, 'x')",
        bad,
        "INSERT INTO t VALUES (21, 'y')",
        bad,
        "INSERT INTO t VALUES (22, 'z')",
      ),
      insert(30, 2),
    ];
    const database = openTenant(lane);
    let commits = 0;
    const crash = () => {
      if (++commits === crashAfter) throw new TypeError('crash');
    };
    expect(() =>
      applyBatch(database, jobs, { progress: new Progress(lane.options.progress), afterCommit: crash }),
    ).toThrow('crash');
    database.abandon();

    const again = lane.apply(...jobs);
    expect(again.map(job => job.failures)).toEqual([0, 2, 0]);
    expect(verdicts(again[1])).toEqual([
      'ok',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'ok',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'ok',
    ]);
    expect(resultsOf(again[1])[4]).toEqual([1, 22]);
    expect(lane.column('SELECT id FROM t')).toEqual([1, 10, 11, 20, 21, 22, 30, 31]);
    expect(lane.commitSeq).toBe(1 + 3);
  });
});

describe('the fence', () => {
  it('refuses an older epoch inside the transaction, and commits nothing', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    // A newer broker opens the file while the old one has it open.
    openTenant(lane, 5).close();
    expect(refused(lane.run([insert(1, 1)])).error).toMatchObject({
      code: 'FENCED',
      details: { fileEpoch: 5 },
    });
    // And again, when it has to open the file first.
    expect(refused(lane.run([insert(1, 1)])).error).toMatchObject({
      code: 'FENCED',
      details: { fileEpoch: 5 },
    });
    expect(lane.column('SELECT count(*) FROM t')).toEqual([0]);
    expect(lane.column('SELECT epoch FROM sqlite_onewriter_state')).toEqual([5]);
    expect(lane.commitSeq).toBe(1);
  });

  it('lets the same broker continue under a newer epoch', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    expect(lane.run([insert(1, 1)], { epoch: 2 })).toMatchObject({ kind: 'applied' });
    expect(lane.column('SELECT epoch FROM sqlite_onewriter_state')).toEqual([2]);
    expect(refused(lane.run([insert(2, 1)], { epoch: 1 })).error.code).toBe('FENCED');
  });

  it('says that the outcome is uncertain where a part was committed before', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, insert(1, 1));
    const database = openTenant(lane);
    const other = () => openTenant(lane, 2).close();
    const jobs = [insert(10, 1), writes('INSERT OR ROLLBACK INTO t VALUES (1, NULL)'), insert(20, 1)];
    expect(() =>
      applyBatch(database, jobs, { progress: new Progress(lane.options.progress), afterCommit: other }),
    ).toThrow(
      expect.objectContaining({ uncertain: true, cause: expect.objectContaining({ code: 'FENCED' }) }),
    );
    database.abandon();
    expect(lane.column('SELECT id FROM t')).toEqual([1, 10]);
    expect(BatchFailed.prototype).toBeInstanceOf(Error);
  });
});

/** A second connection of the same code, as another broker's would be. */
function openTenant(lane: TemporaryLane, epoch = 1): TenantDatabase {
  return TenantDatabase.open('acme', { ...lane.options, epoch });
}
