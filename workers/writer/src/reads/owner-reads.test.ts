import { LIMITS, newReadJobId, type WireOperationResult } from '@onewriter/protocol';
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

const reads = (...sql: string[]) =>
  queuedJob(
    sql,
    sql.map((_, s) => ({ s })),
    { id: newReadJobId() },
  );

function open(): TemporaryLane {
  const lane = new TemporaryLane();
  lane.applyOne(script("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'one')"));
  return lane;
}

const fill = (rows: number, bytes: number) =>
  script(
    `INSERT INTO t SELECT value, hex(zeroblob(${bytes / 2})) FROM (WITH RECURSIVE n(value) AS (SELECT 2 UNION ALL SELECT value + 1 FROM n LIMIT ${rows}) SELECT value FROM n)`,
  );

describe('reads through the owner', () => {
  it('see the writes of their batch, and leave no trace in the file', () => {
    const lane = open();
    const before = lane.commitSeq;
    const read = queuedJob(
      ['SELECT id, a FROM t WHERE id = ?'],
      [
        { s: 0, p: [2] },
        { s: 0, p: [1] },
      ],
      { id: newReadJobId() },
    );
    const outcome = applied(lane.run([read, writes("INSERT INTO t VALUES (2, 'two')")]));
    expect(resultsOf(outcome.jobs[0])).toEqual([
      { c: ['id', 'a'], r: [[2, 'two']], n: 0, i: 0 },
      { c: ['id', 'a'], r: [[1, 'one']], n: 0, i: 0 },
    ]);
    expect(outcome.jobs[0]).toMatchObject({ reads: 2, writes: 0, failures: 0, commitSeq: before + 1 });
    expect(outcome.stats.commits).toBe(1);
    expect(applied(lane.run([read])).stats.commits).toBe(0);
    expect(lane.commitSeq).toBe(before + 1);
    expect(
      lane.column('SELECT job_id FROM sqlite_onewriter_ledger').filter(id => String(id).startsWith('r-')),
    ).toEqual([]);
  });

  it('answers each alone, and refuses what is no read', () => {
    const lane = open();
    const job = lane.applyOne(
      reads(
        'SELECT 1',
        'DELETE FROM t',
        'SELECT nothing FROM t',
        'INSERT INTO t VALUES (9, 9) RETURNING id',
        'COMMIT',
      ),
    );
    expect(verdicts(job)).toEqual([
      'ok',
      'STATEMENT_NOT_ALLOWED',
      'SQLITE_ERROR',
      'STATEMENT_NOT_ALLOWED',
      'STATEMENT_NOT_ALLOWED',
    ]);
    expect(job.deadLetters).toBeUndefined();
    expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
    // The connection writes on.
    expect(verdicts(lane.applyOne(writes("INSERT INTO t VALUES (3, 'three')")))).toEqual(['ok']);
  });

  it('runs a statement behind semicolons and comments', () => {
    const sql = '; /* ; */\n; -- ;\n; SELECT a FROM t WHERE id = 1;';
    expect(resultsOf(open().applyOne(reads(sql)))).toMatchObject([{ r: [['one']] }]);
  });

  it('undoes what a function of a SELECT writes', () => {
    const lane = open();
    lane.applyOne(script('CREATE VIRTUAL TABLE f USING fts4(a)'));
    for (const text of ['a b', 'b c', 'c d']) lane.applyOne(writes(`INSERT INTO f VALUES ('${text}')`));
    const segments = lane.column('SELECT count(*) FROM f_segdir');
    lane.applyOne(reads('SELECT optimize(f) FROM f LIMIT 1'));
    expect(lane.column('SELECT count(*) FROM f_segdir')).toEqual(segments);
  });

  it('sees the counters of a connection that only reads', () => {
    const lane = open();
    const sql = 'SELECT last_insert_rowid() AS id, changes() AS n, total_changes() AS total';
    const [, job] = lane.apply(writes("INSERT INTO t VALUES (7, 'seven')"), reads(sql));
    expect(resultsOf(job)[0]).toMatchObject({ r: [[0, 0, 0]] });
  });

  it('makes no file for a tenant that has none', () => {
    const lane = new TemporaryLane();
    expect(refused(lane.run([reads('SELECT 1')]))).toMatchObject({
      error: { code: 'TENANT_NOT_FOUND' },
      uncertain: false,
      begun: false,
    });
  });

  it('refuses what may take long, by its plan and the size of the file', () => {
    const lane = open();
    const scan = 'SELECT count(*) FROM t WHERE a > ?1';
    const search = 'SELECT id FROM t WHERE id = 1';
    // It ends, unlike those that its plan stands for: no test can stop a statement that runs in its thread.
    const recursive = 'WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9) SELECT count(*) FROM n';
    const job = () =>
      queuedJob([scan, search, recursive], [{ s: 0, p: ['z'] }, { s: 1 }, { s: 2 }], { id: newReadJobId() });
    expect(verdicts(lane.applyOne(job()))).toEqual(['ok', 'ok', 'READ_TOO_COSTLY']);
    lane.applyOne(fill(200, 100_000));
    expect(verdicts(lane.applyOne(job()))).toEqual(['READ_TOO_COSTLY', 'ok', 'READ_TOO_COSTLY']);
  });

  it('refuses to check each page of a large file, however that is written', () => {
    const lane = open();
    const job = () => reads('/* all */ PRAGMA integrity_check', 'PRAGMA quick_check', 'PRAGMA user_version');
    expect(verdicts(lane.applyOne(job()))).toEqual(['ok', 'ok', 'ok']);
    lane.applyOne(fill(200, 100_000));
    expect(verdicts(lane.applyOne(job()))).toEqual(['READ_TOO_COSTLY', 'READ_TOO_COSTLY', 'ok']);
  });

  it('reads the schema of a large file by functions of its rows', () => {
    const lane = open();
    lane.applyOne(fill(200, 100_000));
    const columns =
      'SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.name = ?';
    const job = () =>
      queuedJob(
        [columns, 'SELECT count(*) FROM dbstat', 'SELECT count(*) FROM t m'],
        [{ s: 0, p: ['t'] }, { s: 1 }, { s: 2 }],
        {
          id: newReadJobId(),
        },
      );
    const first = lane.applyOne(job());
    expect(verdicts(first)).toEqual(['ok', 'READ_TOO_COSTLY', 'READ_TOO_COSTLY']);
    expect(resultsOf(first)[0]).toMatchObject({
      r: [
        ['t', 'id'],
        ['t', 'a'],
      ],
    });
    // The data of a search are in tables that the statement does not name.
    lane.applyOne(
      script(
        'CREATE VIRTUAL TABLE Notes USING fts5(a); CREATE VIEW AllNotes AS SELECT * FROM Notes; CREATE VIRTUAL TABLE "a""b" USING fts5(a)',
      ),
    );
    const named = () => reads("SELECT a FROM notes WHERE notes MATCH 'x'", 'SELECT a FROM allnotes');
    expect(verdicts(lane.applyOne(job()))[0]).toBe('READ_TOO_COSTLY');
    lane.applyOne(script('DROP TABLE "a""b"'));
    expect(verdicts(lane.applyOne(job()))[0]).toBe('ok');
    expect(verdicts(lane.applyOne(named()))).toEqual(['READ_TOO_COSTLY', 'READ_TOO_COSTLY']);
  });

  it('does not answer a client of another data directory', () => {
    const lane = new TemporaryLane({ dataDirId: 'aaaaaaaa-1', formerDataDirId: 'cccccccc-1' });
    lane.applyOne(script('CREATE TABLE t(a)'));
    const from = (dir: string) => {
      const job = reads('SELECT a FROM t');
      return lane.applyOne({ ...job, data: job.data.replace('{', `{"dir":"${dir}",`) });
    };
    expect(verdicts(from('aaaaaaaa'))).toEqual(['ok']);
    // Its tenants were restored from that one.
    expect(verdicts(from('cccccccc'))).toEqual(['ok']);
    expect(from('bbbbbbbb')).toMatchObject({ error: { code: 'MISCONFIGURED' }, results: '' });
  });

  it('refuses a range in a large file that may visit all of it for few rows', () => {
    const lane = open();
    lane.applyOne(fill(200, 100_000));
    const job = reads(
      'SELECT id FROM t WHERE id > 100 ORDER BY id LIMIT 10',
      "SELECT id FROM t WHERE id > 0 AND a = 'none'",
      'SELECT count(*) FROM t WHERE id > 0',
      'SELECT id FROM t WHERE id BETWEEN 100 AND 110 AND a IS NULL',
    );
    expect(verdicts(lane.applyOne(job))).toEqual(['ok', 'READ_TOO_COSTLY', 'READ_TOO_COSTLY', 'ok']);
  });

  it('judges a statement again when the schema has changed', () => {
    const lane = open();
    lane.applyOne(fill(200, 100_000));
    const job = () => reads("SELECT id FROM t WHERE a = 'one'");
    expect(verdicts(lane.applyOne(job()))).toEqual(['READ_TOO_COSTLY']);
    lane.applyOne(writes('CREATE INDEX t_a ON t(a)'));
    expect(verdicts(lane.applyOne(job()))).toEqual(['ok']);
    lane.applyOne(writes('DROP INDEX t_a'));
    expect(verdicts(lane.applyOne(job()))).toEqual(['READ_TOO_COSTLY']);
  });

  it('bounds rows and bytes; of a read that wants one row it returns one', () => {
    const lane = open();
    lane.applyOne(fill(LIMITS.maxOwnerReadRows, 10));
    const all = (more: object) =>
      queuedJob(['SELECT id, a FROM t'], [{ s: 0, ...more }], { id: newReadJobId() });
    expect(verdicts(lane.applyOne(all({})))).toEqual(['RESULT_TOO_LARGE']);
    const first = lane.applyOne(all({ f: 1 }));
    expect(resultsOf(first)).toMatchObject([{ r: [[1, 'one']] }]);
    lane.applyOne(writes(`INSERT INTO t VALUES (-1, hex(zeroblob(${LIMITS.maxOwnerReadBytes})))`));
    expect(verdicts(lane.applyOne(reads('SELECT a FROM t WHERE id = -1')))).toEqual(['RESULT_TOO_LARGE']);
  });

  it('does not load a large value to find out that it is large', () => {
    const lane = open();
    const bytes = 64 * 1024 * 1024;
    lane.applyOne(writes(`INSERT INTO t VALUES (-1, zeroblob(${bytes})), (-2, 'small')`));
    const before = process.resourceUsage().maxRSS;
    const ids = [{ s: 0, p: [-1] }, { s: 0, p: [-2] }, { s: 1 }, { s: 2 }];
    const sql = [
      'SELECT id, a FROM t WHERE id = ?',
      'SELECT a FROM t ORDER BY id LIMIT 1',
      'SELECT length(a) FROM t WHERE id = -1',
    ];
    const job = lane.applyOne(queuedJob(sql, ids, { id: newReadJobId() }));
    expect(verdicts(job)).toEqual(['RESULT_TOO_LARGE', 'ok', 'READ_TOO_COSTLY', 'ok']);
    expect((process.resourceUsage().maxRSS - before) * 1024).toBeLessThan(bytes / 2);
  });

  it('bounds also what may ask for the counters of the connection', () => {
    const lane = open();
    lane.applyOne(fill(LIMITS.maxOwnerReadRows, 10));
    const sql = 'SELECT id AS changes FROM t';
    const job = lane.applyOne(queuedJob([sql], [{ s: 0, f: 1 }, { s: 0 }], { id: newReadJobId() }));
    expect(verdicts(job)).toEqual(['ok', 'RESULT_TOO_LARGE']);
    expect(resultsOf(job)[0]).toMatchObject({ c: ['changes'], r: [[1]] });
  });

  it('hands the broker what no event can carry, and puts off reads beyond the bound of a job', () => {
    const lane = open();
    lane.applyOne(writes(`INSERT INTO t VALUES (2, hex(zeroblob(${LIMITS.maxOwnerReadBytes / 2 - 100})))`));
    const jobs = [reads(...Array<string>(6).fill('SELECT a FROM t WHERE id = 2'))];
    const allowance = { ms: 60_000, retryAfterMs: 1 };
    const task = { kind: 'apply', tenant: 'acme', epoch: 1, jobs, reads: allowance } as const;
    const job = applied(lane.lane.run(task)).jobs[0]!;
    expect(job.results).toBe('');
    const results = JSON.parse(job.answer!) as WireOperationResult[];
    const codes = results.map(result => ('e' in result ? result.e.code : 'ok'));
    expect(codes).toEqual(['ok', 'ok', 'ok', 'ok', 'ok', 'RATE_LIMITED']);
  });
});
