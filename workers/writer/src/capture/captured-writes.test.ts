import { newStepsJobId, newTransactionId } from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { CaptureListener, LogCopy } from '../../test-support/log-copy.ts';
import { queuedJob, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
const [INSERT, DDL] = [1, 8];

function capturedLane() {
  const copy = new LogCopy();
  const lane = new TemporaryLane({ replicated: true });
  const listener = new CaptureListener([copy]).connect(lane);
  onTestFinished(() => listener.close());
  /** Of the newest commit. */
  const written = () => {
    listener.ask();
    return copy.commits.at(-1)!.writes;
  };
  return { lane, written };
}

it('says who wrote in a commit, how much, and with what kinds of statements', () => {
  const { lane, written } = capturedLane();
  lane.apply(TABLE);
  expect(written()).toEqual({ writes: 1, kinds: DDL, by: [['c-1', 1]] });
  const sql = ['INSERT INTO t VALUES (?, 1)', 'WITH n AS (SELECT 1) UPDATE t SET v = 2', 'SELECT 1'];
  const other = queuedJob(sql, [{ s: 0, p: [2], o: 'key' }, { s: 2 }], { client: 'c-2' });
  lane.apply(queuedJob(sql, [{ s: 0, p: [1] }, { s: 1 }]), other);
  expect(written()).toEqual({
    ...{ writes: 4, kinds: 3 },
    by: [
      ['c-1', 2],
      ['token key', 1],
      ['c-2', 1],
    ],
  });
});

it('has nothing of a write that failed', () => {
  const { lane, written } = capturedLane();
  lane.apply(TABLE);
  lane.apply(
    writes('INSERT INTO t VALUES (1, 1)', 'UPDATE missing SET v = 1'),
    script('DELETE FROM t; SELECT raise_an_error()'),
  );
  expect(written()).toEqual({ writes: 1, kinds: INSERT, by: [['c-1', 1]] });
});

it('counts a transaction of several requests once, with the statements of all', () => {
  const { lane, written } = capturedLane();
  lane.apply(TABLE);
  const transaction = { id: newTransactionId(), expiresAt: 1 };
  const run = (kind: 'b' | 's', sql: readonly string[], op: object) => {
    const jobs = [
      queuedJob(sql, [{ q: sql.map((_, s) => ({ s })), i: 1, ...op }], { id: newStepsJobId(kind) }),
    ];
    return lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs, transaction });
  };
  expect(run('b', ['BEGIN', 'INSERT INTO t VALUES (1, 1)'], {})).toMatchObject({ open: transaction.id });
  run('s', ['DELETE FROM t', 'COMMIT'], { tx: transaction.id });
  expect(written()).toEqual({ writes: 1, kinds: 5, by: [['c-1', 1]] });
});

it('has none for a commit of the writer itself', () => {
  const { lane, written } = capturedLane();
  lane.apply(TABLE);
  lane.apply(writes('INSERT INTO t VALUES (1, 1)'));
  lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 2, jobs: [] });
  expect(written()).toBeUndefined();
});
