import { LEDGER_INDEXED_TO } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';

/*
 * `sqlite_onewriter_jobs` maps a job to its row of the ledger. It is filled in blocks, so that most commits do not write a page of it.
 * Invariant: every row up to the last boundary of a block is in it, and the few later rows are searched
 * (`shared/protocol/src/ledger-sql.ts`). So an operation that moves the boundary has to index the rows before it:
 *
 *   a job is recorded, its id is the largest plus one         the block that it completes, if it completes one
 *   a row with an id of its own (a restore)                   everything
 *   the row of state was missing                              everything
 *
 * REPLACE: if another program damaged the index, an old entry must not keep a tenant from being written.
 */

/** Puts the rows with ids above the first `?`, up to the second, into the index. */
export const INDEX_RANGE_SQL =
  'INSERT OR REPLACE INTO sqlite_onewriter_jobs SELECT job_id, id FROM sqlite_onewriter_ledger WHERE id > ? AND id <= ?';

/** Puts all rows into the index that belong there. */
export const INDEX_ALL_SQL = `INSERT OR REPLACE INTO sqlite_onewriter_jobs SELECT job_id, id FROM sqlite_onewriter_ledger WHERE id <= ${LEDGER_INDEXED_TO}`;

/** A commit without a job: a restore. */
export interface LedgerNote {
  /** Above all ids in use. */
  readonly id: number;
  readonly jobId: string;
  readonly commitSeq: number;
  readonly committedAtMs: number;
}

/** Adds a row with an id of its own to the ledger. Call it in a transaction. */
export function addLedgerNote(db: Database, { id, jobId, commitSeq, committedAtMs }: LedgerNote): void {
  db.prepare(
    `INSERT INTO sqlite_onewriter_ledger(id, job_id, commit_seq, committed_at, next_op, results) VALUES (?, ?, ?, ?, NULL, '[]')`,
  ).run(id, jobId, commitSeq, committedAtMs);
  db.exec(INDEX_ALL_SQL);
}
