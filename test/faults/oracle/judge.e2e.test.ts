import { mkdirSync } from 'node:fs';
import { NEWEST_COMMIT_SEQ_SQL, withReservedNames } from '@onewriter/protocol';
import { type TemporaryDirectory, temporaryDirectory } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JournalEntry } from '../journal.ts';
import { schemaOf } from '../operation.ts';
import type { ViolationKind } from './findings.ts';
import { judge } from './judge.ts';
import type { OracleOptions } from './options.ts';

const JOB = 'w-01930000-0000-7000-8000-000000000001';

let data: TemporaryDirectory;
let db: Database.Database;

beforeEach(async () => {
  data = await temporaryDirectory('oracle');
  db = openTenant('a');
});

afterEach(async () => {
  db.close();
  await data.remove();
});

function openTenant(tenant: string): Database.Database {
  mkdirSync(`${data.path}/tenants/${tenant}`, { recursive: true });
  const file = new Database(`${data.path}/tenants/${tenant}/tenant.db`);
  file.pragma('journal_mode = WAL');
  file.exec(schemaOf('t0'));
  withReservedNames(file, () =>
    file.exec(`
    CREATE TABLE sqlite_onewriter_state(id INTEGER PRIMARY KEY, commit_seq INTEGER);
    CREATE TABLE sqlite_onewriter_ledger(id INTEGER PRIMARY KEY, job_id TEXT, commit_seq INTEGER, next_op INTEGER, results TEXT);
    CREATE TABLE sqlite_onewriter_jobs(job_id TEXT PRIMARY KEY, id INTEGER);
    CREATE TABLE sqlite_onewriter_keys(key TEXT PRIMARY KEY, result TEXT);
    INSERT INTO sqlite_onewriter_state VALUES (1, 0)`),
  );
  return file;
}

/** What a right writer leaves behind for an append. */
function commit(n: number, { job = `job-${n}`, client = 'c', tenant = 'a', results = '[[1,1]]' } = {}): void {
  db.prepare(
    `INSERT INTO sqlite_onewriter_ledger(job_id, commit_seq, next_op, results) VALUES (?, (${NEWEST_COMMIT_SEQ_SQL}) + 1, NULL, ?)`,
  ).run(job, results);
  addRow(n, client, tenant);
}

function addRow(n: number, client = 'c', tenant = 'a', part = 0): void {
  db.prepare("INSERT INTO log(tenant, client, n, part, kind) VALUES (?, ?, ?, ?, 'append')").run(
    ...[tenant, client, n, part],
  );
}

const client = (name = 'c'): JournalEntry => ({ k: 'client', client: name, via: 'sdk', at: 0 });
const end: JournalEntry = { k: 'end', at: 9_999 };
const issue = (n: number, more: Partial<Extract<JournalEntry, { k: 'issue' }>> = {}): JournalEntry => ({
  ...{ k: 'issue', n, tenant: 'a', op: { kind: 'append', parts: 1, by: 'run' }, timeoutMs: 1_000, at: n },
  ...more,
});
const committed = (
  n: number,
  more: { commitSeq?: number; rowid?: number; at?: number } = {},
): JournalEntry => ({
  ...{ k: 'answered', n, outcome: 'committed', at: n },
  ...more,
});
const failed = (
  n: number,
  code = 'QUEUE_UNAVAILABLE',
  retryable = true,
  retryAfterMs: number | undefined = 100,
): JournalEntry => ({ k: 'answered', n, outcome: 'failed', code, retryable, retryAfterMs, at: n });
const unknown = (n: number, receiptId: string | undefined = undefined): JournalEntry => ({
  ...{ k: 'answered', n, outcome: 'unknown', code: 'OUTCOME_UNKNOWN', receiptId, at: n },
});
const receipt = (n: number, state: 'committed' | 'failed' | 'pending' | 'unknown'): JournalEntry => ({
  ...{ k: 'receipt', n, state, at: n },
});

function kindsFound(journal: JournalEntry[], options: Partial<OracleOptions> = {}): ViolationKind[] {
  const { violations } = judge([journal], { dataDir: data.path, tenants: ['a'], ...options });
  return [...new Set(violations.map(({ kind }) => kind))].sort();
}

describe('the oracle', () => {
  it('finds nothing wrong with a right run', () => {
    commit(1);
    commit(2, { job: JOB });
    commit(5, { job: `${JOB.slice(0, -1)}2` });
    const journal = [
      ...[client(), issue(1), issue(2), issue(3), issue(4), issue(5)],
      ...[
        committed(1, { commitSeq: 1, rowid: 1 }),
        unknown(2, `${JOB}.0`),
        failed(3),
        unknown(4),
        unknown(5),
      ],
      ...[receipt(2, 'pending'), receipt(2, 'committed'), receipt(4, 'unknown'), end],
    ];
    const verdict = judge([journal], { dataDir: data.path, tenants: ['a'] });
    expect(verdict.violations).toEqual([]);
    expect(verdict.counts).toMatchObject({
      ...{ issued: 5, committed: 1, unknown: 3, unanswered: 0, rows: 3, commits: 3 },
      failed: { QUEUE_UNAVAILABLE: 1 },
    });
  });

  it('excuses what a killed client did not hear, but not that it is there twice', () => {
    commit(1);
    commit(2);
    expect(kindsFound([client(), issue(1), issue(2), issue(3), committed(1)])).toEqual([]);
    addRow(2);
    expect(kindsFound([client(), issue(1), issue(2), issue(3), committed(1)])).toEqual(['doubled']);
  });

  it('finds a lost write', () => {
    commit(1);
    expect(kindsFound([client(), issue(1), committed(1), issue(2), committed(2), end])).toEqual(['lost']);
    expect(
      kindsFound([client(), issue(1), committed(1), issue(2), unknown(2), receipt(2, 'committed'), end]),
    ).toEqual(['lost']);
  });

  it('excuses a lost write that was acknowledged just before its machine was lost, and no other', () => {
    commit(1);
    const journal = [client(), issue(1), committed(1), issue(2), committed(2, { at: 50 }), end];
    expect(kindsFound(journal, { commitsMayBeLost: [{ from: 40, to: 60 }] })).toEqual([]);
    expect(kindsFound(journal, { commitsMayBeLost: [{ from: 60, to: 70 }] })).toEqual(['lost']);
    expect(
      kindsFound([...journal.slice(0, -1), receipt(2, 'committed'), end], {
        commitsMayBeLost: [{ from: 50, to: 50 }],
      }),
    ).toEqual(['lost']);
  });

  it('excuses another row after a loss that is excused: the queue had the write still', () => {
    commit(1);
    const journal = [client(), issue(1), committed(1, { rowid: 2, at: 50 }), end];
    expect(kindsFound(journal, { commitsMayBeLost: [{ from: 40, to: 60 }] })).toEqual([]);
    expect(kindsFound(journal, { commitsMayBeLost: [{ from: 60, to: 70 }] })).toEqual(['wrong-answer']);
    const again = [...journal.slice(0, -1), committed(1, { rowid: 3, at: 70 }), end];
    expect(kindsFound(again, { commitsMayBeLost: [{ from: 40, to: 60 }] })).toEqual(['wrong-answer']);
  });

  it('finds a write that is there twice', () => {
    commit(1);
    addRow(1);
    expect(kindsFound([client(), issue(1), committed(1), end])).toEqual(['doubled']);
  });

  it('finds a write that is there and was reported failed', () => {
    commit(1);
    commit(2);
    expect(kindsFound([client(), issue(1), issue(2), committed(1), failed(2), end])).toEqual([
      'false-failure',
    ]);
  });

  it('lets a write that was sent again with its key be there where one attempt is not known to have failed', () => {
    commit(1);
    commit(2);
    const again: JournalEntry = { k: 'again', n: 2, timeoutMs: 1_000, at: 2 };
    const op = { kind: 'keyed', key: 'k' } as const;
    const start = [client(), issue(1), committed(1), issue(2, { op })];
    expect(kindsFound([...start, unknown(2), again, failed(2), end])).toEqual([]);
    expect(kindsFound([...start, failed(2), again, failed(2), end])).toEqual(['false-failure']);
  });

  it('finds a committed write that must fail', () => {
    commit(1);
    const op = { kind: 'bad', how: 'abort' } as const;
    const journal = [client(), issue(1), committed(1), issue(2, { op }), committed(2), end];
    expect(kindsFound(journal)).toEqual(['false-commit']);
  });

  it('finds rows that a failed write left behind', () => {
    commit(1);
    addRow(2);
    const op = { kind: 'bad', how: 'fail' } as const;
    const journal = [
      client(),
      issue(1),
      committed(1),
      issue(2, { op }),
      failed(2, 'CONSTRAINT_VIOLATION'),
      end,
    ];
    expect(kindsFound(journal)).toEqual(['false-failure', 'partial']);
  });

  it('finds half a transaction', () => {
    commit(1);
    const op = { kind: 'append', parts: 2, by: 'transaction' } as const;
    expect(kindsFound([client(), issue(1, { op }), committed(1), end])).toEqual(['partial']);
  });

  it('finds writes of a client in another order', () => {
    commit(2);
    commit(1);
    const journal = [client(), issue(1), issue(2), committed(1), committed(2), end];
    expect(kindsFound(journal)).toEqual(['reordered']);
  });

  it('finds a receipt with a false outcome', () => {
    commit(1);
    commit(2, { job: JOB });
    const start = [client(), issue(1), committed(1), issue(2), unknown(2, `${JOB}.0`)];
    expect(kindsFound([...start, receipt(2, 'committed'), end])).toEqual([]);
    expect(kindsFound([...start, receipt(2, 'failed'), end])).toEqual(['wrong-receipt']);
    expect(kindsFound([...start, receipt(2, 'unknown'), end])).toEqual(['wrong-receipt']);
    expect(kindsFound([...start, receipt(2, 'pending'), end])).toEqual(['unsettled']);
    db.exec(
      `UPDATE sqlite_onewriter_ledger SET results = '[{"e":{"code":"SQL_ERROR"}}]' WHERE job_id = '${JOB}'`,
    );
    expect(kindsFound([...start, end])).toEqual(['wrong-receipt']);
  });

  it('finds answers that are not true', () => {
    commit(1);
    commit(2);
    const start = [client(), issue(1), issue(2)];
    expect(kindsFound([...start, committed(1, { rowid: 2 }), committed(2), end])).toEqual(['wrong-answer']);
    expect(
      kindsFound([...start, committed(1, { commitSeq: 2 }), committed(2, { commitSeq: 1 }), end]),
    ).toEqual(['wrong-answer']);
  });

  it('finds holes in commit_seq, and commits that the file does not count', () => {
    commit(1);
    commit(2);
    const journal = [client(), issue(1), issue(2), committed(1), committed(2), end];
    db.exec('UPDATE sqlite_onewriter_state SET commit_seq = 3');
    expect(kindsFound(journal)).toEqual(['hole']);
    db.exec(
      'UPDATE sqlite_onewriter_state SET commit_seq = 0; UPDATE sqlite_onewriter_ledger SET commit_seq = 3 - commit_seq',
    );
    expect(kindsFound(journal)).toEqual(['hole']);
    db.exec('UPDATE sqlite_onewriter_ledger SET commit_seq = 3 - commit_seq');
    const bad = { kind: 'bad', how: 'rollback' } as const;
    const spoiled = [...journal, issue(3, { op: bad }), failed(3, 'CONSTRAINT_VIOLATION', false)];
    db.exec(
      `UPDATE sqlite_onewriter_state SET commit_seq = 3; UPDATE sqlite_onewriter_ledger SET commit_seq = 3 WHERE commit_seq = 2`,
    );
    expect(kindsFound(spoiled)).toEqual(['hole']);
    db.exec(`UPDATE sqlite_onewriter_ledger SET results = '[[1,1],[1,2]]' WHERE commit_seq = 3`);
    expect(kindsFound(spoiled)).toEqual([]);
    expect(kindsFound(journal)).toEqual(['hole']);
    db.exec('UPDATE sqlite_onewriter_ledger SET commit_seq = 2 WHERE commit_seq = 3');
    db.exec(
      'UPDATE sqlite_onewriter_state SET commit_seq = 2; DELETE FROM sqlite_onewriter_ledger WHERE commit_seq = 1',
    );
    expect(kindsFound(journal)).toEqual(['hole']);
    expect(kindsFound(journal, { ledgerMayBePruned: true })).toEqual([]);
  });

  it('finds jobs that would be applied again if they were delivered again', () => {
    commit(1);
    commit(2);
    const journal = [client(), issue(1), issue(2), committed(1), committed(2), end];
    expect(kindsFound(journal)).toEqual([]);
    db.exec("INSERT INTO sqlite_onewriter_jobs VALUES ('job-1', 2)");
    expect(kindsFound(journal)).toEqual(['damaged']);
    db.exec('DELETE FROM sqlite_onewriter_jobs; UPDATE sqlite_onewriter_ledger SET id = 17 WHERE id = 2');
    expect(kindsFound(journal)).toEqual(['damaged']);
  });

  it('finds rows of another tenant, and rows that no client wrote', () => {
    commit(1);
    const journal = [client(), issue(1), committed(1), end];
    addRow(2, 'c', 'b');
    expect(kindsFound(journal)).toEqual(['foreign-row']);
    db.exec('DELETE FROM log WHERE n = 2');
    addRow(7, 'ghost');
    expect(kindsFound(journal)).toEqual(['unknown-row']);
  });

  it('finds money made of nothing, and a register that is not its last write', () => {
    commit(1);
    const journal = [client(), issue(1), committed(1), end];
    db.exec('UPDATE accounts SET balance = balance + 1 WHERE id = 3');
    expect(kindsFound(journal)).toEqual(['balance']);
    db.exec(
      'UPDATE accounts SET balance = balance - 1 WHERE id = 3; UPDATE registers SET version = 1 WHERE id = 0',
    );
    expect(kindsFound(journal)).toEqual(['register']);
  });

  it('finds callers that got no answer, or one that came 100 ms after the deadline', () => {
    commit(1);
    commit(2);
    expect(kindsFound([client(), issue(1), issue(2), committed(1), end])).toEqual(['unsettled']);
    // Its deadline is at 1,001.
    const answered = (at: number) =>
      kindsFound([client(), issue(1), issue(2), committed(1, { at }), committed(2), end]);
    expect(answered(1_100)).toEqual([]);
    expect(answered(1_102)).toEqual(['unsettled']);
  });

  it('takes off what the machine took from a client since the deadline, up to a bound', () => {
    commit(1);
    const answered = (at: number, starvedMs: number) => {
      const answer = { ...committed(1, { at }), starvedMs } as JournalEntry;
      const { violations, counts } = judge([[client(), issue(1), answer, end]], {
        dataDir: data.path,
        tenants: ['a'],
      });
      return {
        kinds: violations.map(({ kind }) => kind),
        starved: counts.starved,
        latestMs: counts.latestMs,
      };
    };
    expect(answered(1_501, 450)).toEqual({ kinds: [], starved: 1, latestMs: 50 });
    expect(answered(1_501, 390)).toEqual({ kinds: ['unsettled'], starved: 0, latestMs: 110 });
    expect(answered(20_001, 30_000)).toMatchObject({ kinds: ['unsettled'] });
  });

  it('takes off what the machine took from the gateway, for its callers alone', () => {
    commit(1);
    const gatewayStarved = [
      { from: 0, to: 900, ms: 500 },
      { from: 1_050, to: 1_400, ms: 300 },
      { from: 1_600, to: 1_700, ms: 90 },
    ];
    const rest = [issue(1), committed(1, { at: 1_401 }), end];
    const viaGateway: JournalEntry = { k: 'client', client: 'c', via: 'gateway', at: 0 };
    expect(kindsFound([viaGateway, ...rest], { gatewayStarved })).toEqual([]);
    expect(kindsFound([viaGateway, ...rest], { gatewayStarved: gatewayStarved.slice(0, 1) })).toEqual([
      'unsettled',
    ]);
    expect(kindsFound([client(), ...rest], { gatewayStarved })).toEqual(['unsettled']);
  });

  it('finds an accepted write that vanished, unless Redis may have lost it just then', () => {
    commit(1);
    const accepted: JournalEntry = { k: 'accepted', n: 2, receiptId: `${JOB}.0`, at: 50 };
    const op = { kind: 'enqueue' } as const;
    const journal = [
      client(),
      issue(1),
      committed(1),
      issue(2, { op }),
      accepted,
      unknown(2, `${JOB}.0`),
      end,
    ];
    expect(kindsFound(journal)).toEqual(['accepted-lost']);
    expect(kindsFound(journal, { acceptedMayBeLost: [{ from: 60, to: 70 }] })).toEqual(['accepted-lost']);
    expect(kindsFound(journal, { acceptedMayBeLost: [{ from: 40, to: 70 }] })).toEqual([]);
  });

  it('finds codes that nothing excuses', () => {
    commit(1);
    const start = [client(), issue(1), committed(1), issue(2)];
    expect(kindsFound([...start, failed(2, 'INTERNAL', false), end])).toEqual(['wrong-code']);
    expect(
      kindsFound([...start, failed(2, 'POISON_JOB', false), end], { excusedCodes: ['POISON_JOB'] }),
    ).toEqual([]);
    expect(kindsFound([...start, failed(2, 'BUFFER_FULL', true, 0), end])).toEqual(['wrong-answer']);
    expect(kindsFound([...start, unknown(2), end], { unknownAllowed: false })).toEqual(['wrong-code']);
  });

  it('finds a read that missed a committed write', () => {
    commit(1);
    const read: JournalEntry = { k: 'read', n: 1, seen: false, at: 2 };
    expect(kindsFound([client(), issue(1), committed(1), read, end])).toEqual(['stale-read']);
    expect(kindsFound([client(), issue(1), committed(1), read, end], { staleReadsAllowed: true })).toEqual(
      [],
    );
  });

  it('finds a damaged file, broken foreign keys, a file that is gone, and a run that did nothing', () => {
    commit(1);
    const journal = [client(), issue(1), committed(1), end];
    db.exec('PRAGMA foreign_keys = OFF; UPDATE log SET later = 99');
    expect(kindsFound(journal)).toEqual(['damaged']);
    db.exec('UPDATE log SET later = NULL; DROP INDEX log_by_write');
    expect(kindsFound(journal)).toEqual([]);
    db.unsafeMode();
    db.exec(`PRAGMA writable_schema = ON;
      INSERT INTO sqlite_schema SELECT 'index', 'i', 'log', rootpage, 'CREATE INDEX i ON log(n)' FROM sqlite_schema
        WHERE name = 'accounts'`);
    expect(kindsFound(journal)).toEqual(['damaged']);
    expect(
      kindsFound([{ ...journal[0]! }, issue(1, { tenant: 'b' }), committed(1)], { tenants: ['b'] }),
    ).toEqual(['damaged']);
    expect(kindsFound([client()], { tenants: [] })).toEqual(['no-progress']);
  });
});
