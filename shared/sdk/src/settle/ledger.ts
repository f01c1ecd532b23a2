import { isWithoutOwnTable, type OnewriterError, type WireOperationResult } from '@onewriter/protocol';
import type { SqlRow } from '../types.ts';

/** What the ledger in the tenant's file says of a job: the truth. */
export type LedgerAnswer =
  /**
   * Committed. `results` by index of the write; undefined where not asked for, or where the job is still being
   * applied (a large job can take several commits).
   */
  | {
      readonly kind: 'found';
      readonly results: readonly (WireOperationResult | undefined)[];
      readonly commitSeq: number;
    }
  /** Not in the ledger, as of now. */
  | { readonly kind: 'absent' };

/** Required before an answer may be believed: what was read has to be on the disk. Takes as long as the disk. */
export interface LedgerFlush {
  /** Does not hold up the event loop. @throws Error of the file system: then it is not known. */
  later(): Promise<void>;
}

/** An answer of a look at once; without `flush` it can be believed. */
export type ImmediateAnswer = LedgerAnswer & { readonly flush?: LedgerFlush | undefined };

/** Reads ledgers. */
export interface LedgerReader {
  /** Its looks stand in the tenant's queue: of a job that waits there they learn nothing. */
  readonly isQueued?: boolean | undefined;
  /** Looks at once, where the file can be opened here; undefined where it cannot, or fails. */
  lookNow(tenant: string, jobId: string): ImmediateAnswer | undefined;
  /**
   * Looks, by whatever way there is.
   * @param indexes the writes of interest
   * @param signal ends the wait
   * @throws OnewriterError as of a read
   */
  look(
    tenant: string,
    jobId: string,
    indexes: readonly number[],
    signal?: AbortSignal,
  ): Promise<LedgerAnswer>;
}

/** The answer where nothing is found. */
export const ABSENT: LedgerAnswer = Object.freeze({ kind: 'absent' });

/** What a row of the ledger says: the protocol's LEDGER_LOOKUP_SQL. */
export function answerOfRow(row: SqlRow): LedgerAnswer {
  const results = JSON.parse(String(row['results'])) as (WireOperationResult | undefined)[];
  const nextOp = row['next_op'];
  return {
    kind: 'found',
    // If the job is still being applied, only what is committed.
    results: typeof nextOp === 'number' ? results.slice(0, nextOp) : results,
    commitSeq: Number(row['commit_seq']),
  };
}

/** No file, or one that the writer has not made its own yet. */
export function isWithoutLedger(error: OnewriterError): boolean {
  return error.code === 'TENANT_NOT_FOUND' || isWithoutOwnTable(error);
}
