import { classifyStatement, newStepsJobId, newTransactionId } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import {
  applied,
  queuedJob,
  resultsOf,
  script,
  TemporaryLane,
  temporaryDataDir,
  verdicts,
  writes,
} from '../../test-support/temporary-lane.ts';
import { TenantDatabase } from '../file/tenant-database.ts';

/** Each PRAGMA that is answered without being run, with every value that counts as already set. */
const ANSWERED = [
  ...['journal_mode=WAL', 'journal_mode = wal', 'synchronous', 'synchronous=FULL', 'synchronous = 2'],
  ...['synchronous=EXTRA', 'foreign_keys=ON', 'foreign_keys(1)', "foreign_keys='yes'", 'foreign_keys=true'],
  ...['defer_foreign_keys=OFF', 'defer_foreign_keys=0', 'recursive_triggers=OFF', 'case_sensitive_like=0'],
  ...['secure_delete=OFF', 'trusted_schema=ON', 'legacy_alter_table=OFF', 'ignore_check_constraints=no'],
  ...['reverse_unordered_selects=0', 'read_uncommitted=false', 'automatic_index=1', 'cell_size_check=0'],
  ...['fullfsync=0', 'checkpoint_fullfsync=0', 'query_only', 'query_only=0', 'analysis_limit=0', 'threads=0'],
  ...['analysis_limit', 'threads', 'mmap_size', 'mmap_size=0', 'wal_autocheckpoint', 'wal_autocheckpoint=0'],
  ...["encoding='UTF-8'", 'encoding = utf8', 'page_size=4096', 'auto_vacuum=NONE', 'auto_vacuum=0'],
  ...['busy_timeout', 'busy_timeout=5000', 'busy_timeout(200)'],
];

/** A name without its value, as it is read. */
const bareName = (pragma: string) => /^\w+/.exec(pragma)![0];

function run(db: Database.Database, sql: string) {
  const statement = db.prepare(sql);
  if (!statement.reader) return { columns: [], rows: [], changes: statement.run().changes };
  return { columns: statement.columns().map(({ name }) => name), rows: statement.raw(true).all() };
}

describe('PRAGMAs that are so already', () => {
  it('are answered as SQLite answers them on the connection of the writer, where they change nothing', () => {
    const options = { dataDir: temporaryDataDir(), dbFile: 'tenant.db', createTenants: true };
    const database = TenantDatabase.open('acme', {
      ...options,
      busyTimeoutMs: 5_000,
      exclusive: false,
      retentionClock: { id: 'test', offsetMs: 0 },
      epoch: 1,
    });
    const { db } = database;
    for (const pragma of ANSWERED) {
      const { kind, answer } = classifyStatement(`PRAGMA ${pragma}`);
      expect([pragma, kind, answer?.sql]).toEqual([pragma, 'read', expect.any(String)]);
      const before = run(db, `PRAGMA ${bareName(pragma)}`);
      const answered = run(db, answer!.sql);
      expect([pragma, answered]).toEqual([pragma, run(db, `PRAGMA ${pragma}`)]);
      expect([pragma, answer!.columns]).toEqual([pragma, answered.columns]);
      // A bound that is higher, or a guarantee that includes what is asked for, is the only thing that may differ.
      if (!/^(busy_timeout|synchronous)/.test(pragma))
        expect([pragma, run(db, `PRAGMA ${bareName(pragma)}`)]).toEqual([pragma, before]);
      if (answer!.verify !== undefined) expect(run(db, answer!.verify).rows).toEqual([[1]]);
    }
    database.close();
    const memory = new Database(':memory:');
    expect(run(memory, classifyStatement('PRAGMA database_list').answer!.sql)).toEqual(
      run(memory, 'PRAGMA database_list'),
    );
    memory.close();
  });

  it('are refused where the file has another value', () => {
    const dataDir = temporaryDataDir();
    const lane = new TemporaryLane({ dataDir });
    lane.applyOne(script('CREATE TABLE t(a)'));
    const given = ["PRAGMA encoding='UTF-16'", 'PRAGMA page_size=8192', 'PRAGMA auto_vacuum=FULL'];
    const job = lane.applyOne(writes(...given, "PRAGMA encoding='UTF-8'"));
    expect(verdicts(job)).toEqual([...given.map(() => 'STATEMENT_NOT_ALLOWED'), 'ok']);
  });

  it('change nothing for any caller, in writes, transactions, scripts and steps', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p)'));
    const sql = ['PRAGMA busy_timeout = 1', 'PRAGMA journal_mode = WAL', 'PRAGMA foreign_keys = 1'];
    const steps = [{ s: 0 }, { s: 1 }, { s: 2 }];
    const job = lane.applyOne(
      queuedJob([...sql, sql.join(';')], [{ s: 0 }, { t: steps }, { x: 3 }, { q: steps }]),
    );
    const timeout = { c: ['timeout'], r: [[1]], n: 0, i: 0 };
    const wal = { c: ['journal_mode'], r: [['wal']], n: 0, i: 0 };
    expect(resultsOf(job).slice(0, 3)).toEqual([timeout, { t: [timeout, wal, [0, 0]] }, { t: [] }]);
    expect(resultsOf(job)[3]).toMatchObject({ q: [{ r: timeout }, { r: wal }, { r: [0, 0] }] });
    const after = lane.applyOne(writes('INSERT INTO c VALUES (1)', 'PRAGMA foreign_keys'));
    expect(verdicts(after)).toEqual(['SQLITE_CONSTRAINT_FOREIGNKEY', 'ok']);
  });
});

describe('PRAGMA foreign_keys of steps', () => {
  const CREATE = 'CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p)';
  const steps = (sql: readonly string[], more: object[] = []) =>
    queuedJob(sql, [{ q: sql.map((_, s) => ({ s, ...more[s] })) }]);

  it('is refused where nothing follows it, as it would have no effect', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(CREATE));
    for (const sql of ['PRAGMA foreign_keys = OFF', 'PRAGMA defer_foreign_keys = ON']) {
      const [result] = resultsOf(lane.applyOne(steps([sql])));
      expect(result).toMatchObject({ q: [{ e: { code: 'STATEMENT_NOT_ALLOWED' } }] });
      const [inScript] = resultsOf(lane.applyOne(steps([`PRAGMA foreign_keys; ${sql};`], [{ x: 1 }])));
      expect(inScript).toMatchObject({ q: [{ e: { code: 'STATEMENT_NOT_ALLOWED' } }] });
    }
    const used = steps([
      'PRAGMA foreign_keys = OFF',
      'INSERT INTO c VALUES (7)',
      'INSERT INTO p VALUES (7)',
      'PRAGMA foreign_keys = ON',
    ]);
    expect(resultsOf(lane.applyOne(used))).toMatchObject([
      { q: [{ r: [0, 0] }, { r: [1, 1] }, { r: [1, 7] }, { r: [0, 0] }] },
    ]);
    expect(lane.rows('SELECT p FROM c')).toEqual([[7]]);
  });

  it('that is only described is not set for others', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script(CREATE));
    const job = steps(['PRAGMA foreign_keys = OFF', 'PRAGMA defer_foreign_keys = ON'], [{ d: 1 }, { d: 1 }]);
    // As the SDK sends it: alone, outside a transaction.
    const transaction = { id: newTransactionId(), expiresAt: 1 };
    const jobs = [{ ...job, id: newStepsJobId('b') }];
    const outcome = lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs, transaction });
    expect(resultsOf(applied(outcome).jobs[0])).toMatchObject([{ q: [{ r: [0, 0] }, { r: [0, 0] }] }]);
    const after = lane.applyOne(writes('INSERT INTO c VALUES (1)', 'PRAGMA foreign_keys'));
    expect(verdicts(after)).toEqual(['SQLITE_CONSTRAINT_FOREIGNKEY', 'ok']);
  });
});
