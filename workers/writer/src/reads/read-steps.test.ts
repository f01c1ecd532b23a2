import { newReadJobId, type WireStepsResult } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { queuedJob, resultsOf, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';

function open(): TemporaryLane {
  const lane = new TemporaryLane();
  lane.applyOne(script("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'one')"));
  return lane;
}

const READ = 'SELECT a FROM t WHERE id = 1';

function run(lane: TemporaryLane, sql: readonly string[], more: object = {}, step: object = {}) {
  const q = sql.map((_, s) => ({ s, ...step }));
  const job = lane.applyOne(queuedJob(sql, [{ q, ...more }] as never, { id: newReadJobId() }));
  return { ...(resultsOf(job)[0] as WireStepsResult), commitSeq: job.commitSeq };
}

const codes = ({ q }: WireStepsResult) =>
  q.map(step => (step === 0 ? 'skipped' : 'e' in step ? (step.e.details?.sqliteCode ?? step.e.code) : 'ok'));

it('read on one state, say which, and leave nothing behind', () => {
  const lane = open();
  const answer = run(lane, ['BEGIN READONLY', READ, 'COMMIT', READ]);
  expect(answer).toMatchObject({
    q: [
      { r: [0, 0] },
      { r: { c: ['a'], r: [['one']] }, d: ['TEXT'] },
      { r: [0, 0] },
      { r: { r: [['one']] } },
    ],
    ...{ a: 1, seq: 0, in: '', commitSeq: lane.commitSeq },
  });
  expect(run(lane, ['BEGIN'])).toMatchObject({ a: 0 });
  expect(run(lane, ['BEGIN'])).not.toHaveProperty('seq');
  expect(lane.applyOne(writes("INSERT INTO t VALUES (2, 'two')")).failures).toBe(0);
});

it('check transaction control as SQLite does, and refuse what writes', () => {
  const lane = open();
  expect(codes(run(lane, ['COMMIT', 'BEGIN', 'BEGIN', 'DELETE FROM t', 'ROLLBACK', 'ROLLBACK']))).toEqual([
    ...['SQLITE_ERROR', 'ok', 'SQLITE_ERROR', 'SQLITE_READONLY', 'ok', 'SQLITE_ERROR'],
  ]);
  const savepoints = ['BEGIN READONLY', 'SAVEPOINT a', 'ROLLBACK TO a', 'RELEASE a', 'RELEASE a', 'COMMIT'];
  expect(codes(run(lane, savepoints))).toEqual(['ok', 'ok', 'ok', 'ok', 'SQLITE_ERROR', 'ok']);
  expect(
    codes(run(lane, ['PRAGMA foreign_keys = ON', 'PRAGMA synchronous = FULL', 'PRAGMA foreign_keys'])),
  ).toEqual(['ok', 'ok', 'ok']);
  expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
});

it('describe a statement without running it, and run a script to its first error', () => {
  const lane = open();
  expect(run(lane, ["INSERT INTO t VALUES (9, 'nine')", 'SELECT id FROM t'], {}, { d: 1 })).toMatchObject({
    q: [
      { r: [0, 0], ro: 0 },
      { r: { c: ['id'], r: [] }, d: ['INTEGER'], ro: 1 },
    ],
  });
  const { q } = run(lane, [`${READ}; ${READ}`, `${READ}; SELECT b FROM t; ${READ}`], {}, { x: 1 });
  expect(q).toMatchObject([{ r: [0, 0] }, { e: { details: { statementIndex: 1 } } }]);
});

it('follow their conditions', () => {
  const lane = open();
  const q = [
    { s: 0 },
    { s: 1, c: { type: 'error', step: 0 } },
    { s: 2, c: { type: 'ok', step: 1 } },
    { s: 1, c: { type: 'is_autocommit' } },
    { s: 1, c: { type: 'ok', step: 0 } },
  ];
  const sql = ['SELECT nothing', READ, 'BEGIN'];
  const job = lane.applyOne(queuedJob(sql, [{ q }] as never, { id: newReadJobId() }));
  expect(codes(resultsOf(job)[0] as WireStepsResult)).toEqual([
    ...['SQLITE_ERROR', 'ok', 'ok', 'skipped', 'skipped'],
  ]);
});

it('go on with a transaction only on the state that it has seen', () => {
  const lane = open();
  const { commitSeq: at } = run(lane, ['BEGIN', READ]);
  const inside = { rt: 1, at, in: '' };
  expect(run(lane, [READ], inside)).toMatchObject({ a: 0, q: [{ r: { r: [['one']] } }] });
  expect(codes(run(lane, [READ], { ...inside, in: 'abc' }))).toEqual(['SQLITE_BUSY_SNAPSHOT']);
  lane.applyOne(writes("UPDATE t SET a = 'uno'"));
  const late = run(lane, [READ, 'ROLLBACK', READ], inside);
  expect(codes(late)).toEqual(['SQLITE_BUSY_SNAPSHOT', 'ok', 'ok']);
  expect(late.a).toBe(1);
});

it('are judged as other reads', () => {
  const lane = open();
  const recursive = 'WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9) SELECT count(*) FROM n';
  expect(codes(run(lane, [recursive, READ]))).toEqual(['READ_TOO_COSTLY', 'ok']);
  expect(codes(run(lane, [recursive], {}, { x: 1 }))).toEqual(['READ_TOO_COSTLY']);
});
