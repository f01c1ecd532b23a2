import { tenantFile, type WireOperationResult } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** A row of the ledger in a tenant's file, its results parsed. */
export interface LedgerEntry {
  readonly jobId: string;
  readonly commitSeq: number;
  /** Null: the whole job is done. */
  readonly nextOp: number | null;
  readonly results: readonly WireOperationResult[];
}

/** Looks into a tenant's file without any code of the product: `look` gets a read-only connection of its own. */
export function inFile<Result>(
  dataDir: string,
  tenant: string,
  look: (file: Database.Database) => Result,
): Result {
  const file = new Database(tenantFile(dataDir, tenant), { readonly: true });
  try {
    return look(file);
  } finally {
    file.close();
  }
}

/** The first column of each row. */
export function columnInFile(dataDir: string, tenant: string, sql: string): unknown[] {
  return inFile(dataDir, tenant, file => file.prepare(sql).pluck().all());
}

/** The whole ledger, in the order in which its jobs were first applied. */
export function ledgerInFile(dataDir: string, tenant: string): LedgerEntry[] {
  return inFile(dataDir, tenant, file =>
    file
      .prepare<[], { job_id: string; commit_seq: number; next_op: number | null; results: string }>(
        'SELECT job_id, commit_seq, next_op, results FROM sqlite_onewriter_ledger ORDER BY id',
      )
      .all()
      .map(row => ({
        jobId: row.job_id,
        commitSeq: row.commit_seq,
        nextOp: row.next_op,
        results: JSON.parse(row.results),
      })),
  );
}
