import { LEDGER_ROW_OF_JOB, NEWEST_COMMIT_SEQ_SQL, tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { Write } from './answers.ts';
import type { Findings } from './findings.ts';

/** A row of `log`. */
export interface LogRow {
  readonly pos: number;
  readonly tenant: string;
  readonly client: string;
  readonly n: number;
  readonly part: number;
  readonly kind: string;
  readonly source: number | null;
  readonly target: number | null;
  readonly amount: number | null;
  readonly register: number | null;
}

/** A job's ledger entry: its commit, and the outcomes of its writes so far. */
interface LedgerEntry {
  readonly commitSeq: number;
  readonly done: boolean;
  readonly results: readonly unknown[];
}

/** What a tenant's file holds. */
export interface TenantContent {
  readonly rows: readonly LogRow[];
  readonly balances: ReadonlyMap<number, number>;
  readonly registers: ReadonlyMap<
    number,
    { readonly client: string | null; readonly n: number | null; readonly version: number }
  >;
  readonly commitSeq: number;
  readonly ledger: ReadonlyMap<string, LedgerEntry>;
  /** Commits of jobs that took several. */
  readonly noted: ReadonlySet<number>;
}

/** @returns undefined where the file cannot be read, or does not exist because nothing was ever committed. */
export function readTenant(
  dataDir: string,
  tenant: string,
  writes: readonly Write[],
  found: Findings,
): TenantContent | undefined {
  let db: Database.Database | undefined;
  try {
    db = new Database(tenantFile(dataDir, tenant), { readonly: true, fileMustExist: true });
    checkDamage(db, tenant, found);
    checkIndex(db, tenant, found);
    const all = <Row>(sql: string) => db!.prepare(sql).all() as Row[];
    const state = db.prepare(NEWEST_COMMIT_SEQ_SQL).pluck().get() as number;
    return {
      rows: all<LogRow>('SELECT * FROM log ORDER BY pos'),
      balances: new Map(
        all<{ id: number; balance: number }>('SELECT * FROM accounts').map(({ id, balance }) => [
          id,
          balance,
        ]),
      ),
      registers: new Map(
        all<{ id: number; client: string | null; n: number | null; version: number }>(
          'SELECT * FROM registers',
        ).map(({ id, ...register }) => [id, register]),
      ),
      commitSeq: state,
      noted: new Set(
        all<{ seq: number }>(
          "SELECT json_extract(e.value, '$[0]') AS seq FROM sqlite_onewriter_keys k, json_each(k.result) e WHERE k.key LIKE 'commits of %'",
        ).map(({ seq }) => seq),
      ),
      ledger: new Map(
        all<{ job_id: string; commit_seq: number; next_op: number | null; results: string }>(
          'SELECT job_id, commit_seq, next_op, results FROM sqlite_onewriter_ledger',
        ).map(row => [
          row.job_id,
          { commitSeq: row.commit_seq, done: row.next_op === null, results: JSON.parse(row.results) },
        ]),
      ),
    };
  } catch (error) {
    const committed = writes.some(write => write.answers.some(({ outcome }) => outcome === 'committed'));
    if (committed || (error as { code?: string }).code !== 'SQLITE_CANTOPEN') {
      found.add('damaged', `The file cannot be read: ${(error as Error).message}`, { tenant });
    }
    return undefined;
  } finally {
    db?.close();
  }
}

function checkDamage(db: Database.Database, tenant: string, found: Findings): void {
  const integrity = db.pragma('integrity_check') as { integrity_check: string }[];
  if (integrity[0]?.integrity_check !== 'ok') {
    found.add('damaged', `integrity_check: ${integrity.map(row => row.integrity_check).join('; ')}`, {
      tenant,
    });
  }
  const foreignKeys = db.pragma('foreign_key_check') as unknown[];
  if (foreignKeys.length > 0) {
    found.add('damaged', `foreign_key_check: ${JSON.stringify(foreignKeys.slice(0, 5))}`, { tenant });
  }
}

/** A job that is delivered again must find its row, or it is applied again. */
function checkIndex(db: Database.Database, tenant: string, found: Findings): void {
  const find = db
    .prepare<[string], number>(`SELECT id FROM sqlite_onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`)
    .pluck();
  const rows = db
    .prepare<[], { id: number; job_id: string }>('SELECT id, job_id FROM sqlite_onewriter_ledger')
    .all();
  for (const { id, job_id: job } of rows) {
    const foundId = find.get(job);
    if (foundId === id) continue;
    found.add('damaged', `Who looks for job ${job} finds row ${foundId} of the ledger, not ${id}.`, {
      tenant,
    });
  }
}
