import { newStepsJobId, newTransactionId, type WireStepsResult } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import {
  applied,
  queuedJob,
  resultsOf,
  script,
  TemporaryLane,
  verdicts,
  writes,
} from '../../test-support/temporary-lane.ts';
import { TenantDatabase } from '../file/tenant-database.ts';
import type { QueuedJob } from '../thread/lane-task.ts';
import { Progress } from '../thread/progress.ts';
import { applyBatch } from './apply-batch.ts';

const SCHEMA = `
  CREATE TABLE p(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) ON DELETE CASCADE);
  INSERT INTO p VALUES (1, 'a'), (2, 'b');
  INSERT INTO c VALUES (10, 1), (11, 1), (12, 2);
`;

const REBUILD = [
  'CREATE TABLE new_p(id INTEGER PRIMARY KEY, name TEXT NOT NULL)',
  'INSERT INTO new_p SELECT id, name FROM p',
  'DROP TABLE p',
  'ALTER TABLE new_p RENAME TO p',
  'PRAGMA foreign_key_check',
];
const OFF = 'PRAGMA foreign_keys=OFF';
const ON = 'PRAGMA foreign_keys=ON';
const FRAMES: Record<string, readonly string[]> = {
  'in a transaction': [OFF, 'BEGIN', ...REBUILD, 'COMMIT', ON],
  'without a transaction': [OFF, ...REBUILD, ON],
  'as Prisma writes it': [
    'PRAGMA defer_foreign_keys=ON',
    OFF,
    ...REBUILD,
    ON,
    'PRAGMA defer_foreign_keys=OFF',
  ],
  'as a dump is framed': [OFF, 'BEGIN TRANSACTION', ...REBUILD, 'COMMIT'],
};

const asScript = (sql: readonly string[]) => script(sql.join(';\n'));
const asTransaction = (sql: readonly string[]) => queuedJob(sql, [{ t: sql.map((_, s) => ({ s })) }]);
const asSteps = (sql: readonly string[]) => queuedJob(sql, [{ q: sql.map((_, s) => ({ s })) }]);
const asSequence = (sql: readonly string[]) => queuedJob([sql.join(';')], [{ q: [{ s: 0, x: 1 }] }]);
const WAYS = { script: asScript, transaction: asTransaction, steps: asSteps, sequence: asSequence };

function prepared(schema = SCHEMA): TemporaryLane {
  const lane = new TemporaryLane();
  lane.applyOne(script(schema));
  return lane;
}

/** The codes of a job's errors: of its write, or of its steps. */
function errorsOf(lane: TemporaryLane, job: QueuedJob): readonly string[] {
  const [result] = resultsOf(lane.applyOne(job));
  const parts = result !== undefined && 'q' in result ? (result as WireStepsResult).q : [result!];
  return parts.flatMap(part => (part !== 0 && 'e' in part ? [part.e.message] : []));
}

/** Applies a job, and ends behind its first commit as a killed process does. */
function dieAtCommit(lane: TemporaryLane, job: QueuedJob): void {
  lane.lane.close();
  const database = TenantDatabase.open('acme', { ...lane.options, epoch: 1 });
  const die = () => {
    throw new Error('the process ended');
  };
  expect(() =>
    applyBatch(database, [job], { progress: new Progress(lane.options.progress), afterCommit: die }),
  ).toThrow();
  database.abandon();
}

describe.each(Object.entries(WAYS))('the rebuild of a table as a %s', (_way, toJob) => {
  it.each(Object.entries(FRAMES))('keeps the rows that refer to it: %s', (_frame, statements) => {
    const lane = prepared();
    expect(errorsOf(lane, toJob(statements))).toEqual([]);
    expect(lane.rows('SELECT id, p FROM c')).toEqual([
      [10, 1],
      [11, 1],
      [12, 2],
    ]);
    expect(lane.rows('SELECT "notnull" FROM pragma_table_info(\'p\')')).toEqual([[0], [1]]);
    expect(verdicts(lane.applyOne(writes('INSERT INTO c VALUES (13, 9)')))).toEqual([
      'SQLITE_CONSTRAINT_FOREIGNKEY',
    ]);
  });

  it('that loses a parent is refused with the names, and changes nothing', () => {
    const lane = prepared();
    const losing = FRAMES['in a transaction']!.map(sql => sql.replace('FROM p', 'FROM p WHERE id > 1'));
    for (const statements of [losing, losing.filter(sql => !/BEGIN|COMMIT/.test(sql))]) {
      const errors = errorsOf(lane, toJob(statements));
      expect(errors[0]).toMatch(/references to what is not there: c row 10 → p, c row 11 → p\. Nothing/);
      expect(lane.rows('SELECT count(*) FROM p')).toEqual([[2]]);
      expect(lane.rows('SELECT count(*) FROM c')).toEqual([[3]]);
    }
  });

  it('leaves what dangled before, also under new row ids, and refuses one more of it', () => {
    const lane = prepared('CREATE TABLE t(a)');
    const schema = `${SCHEMA} CREATE TABLE d(p INTEGER REFERENCES p(id)); INSERT INTO d VALUES (1), (8), (9);`;
    expect(errorsOf(lane, asScript([OFF, ...schema.split(/;\s*/).filter(Boolean)]))[0]).toMatch(
      /d row 2 → p/,
    );
    const dump = new TemporaryLane();
    expect(errorsOf(dump, asScript([OFF, ...schema.split(/;\s*/).filter(Boolean)]))).toEqual([]);
    dump.applyOne(writes('DELETE FROM d WHERE p = 8'));
    const rebuild = [
      'CREATE TABLE n(p TEXT REFERENCES p(id))',
      'INSERT INTO n SELECT p FROM d',
      'DROP TABLE d',
    ];
    const rename = 'ALTER TABLE n RENAME TO d';
    expect(errorsOf(dump, toJob([OFF, ...rebuild, rename, ON]))).toEqual([]);
    const adding = [OFF, ...rebuild, 'INSERT INTO n VALUES (9)', rename, ON];
    expect(errorsOf(dump, toJob(adding))[0]).toMatch(/: d row 3 → p\./);
    expect(dump.rows('SELECT p FROM d')).toEqual([['1'], ['9']]);
  });
});

describe('PRAGMA defer_foreign_keys', () => {
  it.each([
    ['script', asScript, ['PRAGMA defer_foreign_keys = ON']],
    ['transaction', asTransaction, ['PRAGMA defer_foreign_keys = ON']],
    ['steps', asSteps, ['BEGIN', 'PRAGMA defer_foreign_keys = ON']],
    ['steps, in front of BEGIN', asSteps, ['PRAGMA defer_foreign_keys = ON', 'BEGIN']],
  ] as const)('has its effect until the end of a %s', (_way, toJob, begin) => {
    const lane = prepared();
    const end = begin.length > 1 ? ['COMMIT'] : [];
    const late = [...begin, 'INSERT INTO c VALUES (20, 5)', "INSERT INTO p VALUES (5, 'e')", ...end];
    const [before, job, after] = lane.apply(
      writes("INSERT INTO p VALUES (6, 'f')"),
      toJob(late),
      writes('INSERT INTO c VALUES (21, 7)'),
    );
    expect(verdicts(before)).toEqual(['ok']);
    expect(JSON.stringify(resultsOf(job))).not.toContain('"e":');
    expect(verdicts(after)).toEqual(['SQLITE_CONSTRAINT_FOREIGNKEY']);
    expect(lane.rows('SELECT p FROM c WHERE id = 20')).toEqual([[5]]);
    const never = lane.applyOne(toJob([...begin, 'INSERT INTO c VALUES (22, 77)', ...end]));
    expect(JSON.stringify(resultsOf(never))).toContain('SQLITE_CONSTRAINT_FOREIGNKEY');
    expect(lane.rows('SELECT count(*) FROM c')).toEqual([[4]]);
  });
});

describe('foreign keys that are off', () => {
  it('are off for no other write of a batch', () => {
    const lane = prepared();
    const outcomes = lane.apply(
      writes('INSERT INTO c VALUES (20, 99)'),
      asScript(FRAMES['in a transaction']!),
      writes('INSERT INTO c VALUES (21, 99)', 'DELETE FROM p WHERE id = 2'),
    );
    expect(outcomes.map(verdicts)).toEqual([
      ['SQLITE_CONSTRAINT_FOREIGNKEY'],
      ['ok'],
      ['SQLITE_CONSTRAINT_FOREIGNKEY', 'ok'],
    ]);
    expect(lane.rows('SELECT id FROM c')).toEqual([[10], [11]]);
  });

  it('take an idempotency key: repeated, the rebuild is not run again', () => {
    const lane = prepared();
    const job = () => queuedJob([FRAMES['in a transaction']!.join(';')], [{ x: 0, k: 'rebuild' }]);
    expect(verdicts(lane.applyOne(job()))).toEqual(['ok']);
    const version = lane.rows('PRAGMA schema_version');
    expect(verdicts(lane.applyOne(job()))).toEqual(['ok']);
    expect(lane.rows('PRAGMA schema_version')).toEqual(version);
  });

  it('are off where BEGIN came first, and refused once something is written', () => {
    const lane = prepared();
    expect(errorsOf(lane, asSteps(['BEGIN', OFF, ...REBUILD, ON, 'COMMIT']))).toEqual([]);
    expect(lane.rows('SELECT count(*) FROM c')).toEqual([[3]]);
    const late = asSteps(['BEGIN', "INSERT INTO p VALUES (3, 'c')", OFF, 'ROLLBACK']);
    expect(errorsOf(lane, late)).toEqual([expect.stringMatching(/Send it in front of BEGIN/)]);
  });

  it('stay off through a transaction that is open between requests, whose COMMIT is checked', () => {
    const lane = prepared();
    const transaction = { id: newTransactionId(), expiresAt: Date.now() + 60_000 };
    const send = (letter: 'b' | 's', sql: readonly string[]) => {
      const op = { q: sql.map((_, s) => ({ s })), i: 1, ...(letter === 's' ? { tx: transaction.id } : {}) };
      const jobs = [queuedJob(sql, [op], { id: newStepsJobId(letter) })];
      const { jobs: done } = applied(
        lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs, transaction }),
      );
      return done[0]!.answer ?? done[0]!.results;
    };
    send('b', [OFF, 'BEGIN', 'DELETE FROM p WHERE id = 1']);
    expect(send('s', ['COMMIT'])).toMatch(/c row 10 → p/);
    expect(send('s', ["INSERT INTO p VALUES (1, 'again')", 'COMMIT'])).not.toContain('"e":');
    expect(lane.rows('SELECT count(*) FROM c')).toEqual([[3]]);
  });

  it('are off again where a redelivery continues behind a commit', () => {
    const lane = prepared();
    const again = REBUILD.map(sql => sql.replace('NOT NULL', ''));
    const job = asSteps([OFF, 'BEGIN', ...REBUILD, 'COMMIT', 'BEGIN', ...again, 'COMMIT', ON]);
    dieAtCommit(lane, job);
    expect(errorsOf(lane, job)).toEqual([]);
    expect(lane.rows('SELECT count(*) FROM c')).toEqual([[3]]);
  });

  it('are off for what follows a request that was stopped behind a commit', () => {
    const lane = prepared();
    const sql = [OFF, 'BEGIN', ...REBUILD, 'COMMIT', 'SELECT 1', ON];
    const job = queuedJob(sql, [{ q: sql.map((_, s) => ({ s })), fk: 1 }]);
    dieAtCommit(lane, job);
    const poisoned = { 0: { code: 'STATEMENT_TIMEOUT', message: 'It was not applied.' } };
    expect(resultsOf(lane.applyOne({ ...job, poisoned }))).toMatchObject([{ fk: 0 }]);
  });

  it('may be switched off very often in one request', () => {
    const lane = prepared();
    const many = Array.from({ length: 10_000 }, () => OFF);
    expect(errorsOf(lane, asSequence([...many, 'DELETE FROM c', ON]))).toEqual([]);
  });

  it('are refused where nothing follows, with what to do', () => {
    const lane = prepared();
    for (const toJob of Object.values(WAYS)) {
      expect(errorsOf(lane, toJob([OFF]))).toEqual([expect.stringMatching(/no effect alone.*exec\(\)/)]);
    }
  });
});
