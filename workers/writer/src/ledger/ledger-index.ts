import { LEDGER_INDEXED_TO } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';

/*
 * `_onewriter_jobs` tells which row of the ledger is a job's. It is filled in blocks, so that most commits do not write a
 * page of it, and this always holds: every row up to the last boundary of a block is in it, the few behind are looked
 * through (`shared/protocol/src/ledger-sql.ts`). So what moves the boundary has to index what comes to lie before it:
 *
 *   a job is recorded, its id is the one behind the largest   the block that it completes, if it completes one
 *   a row with an id of its own (a restore)                   everything
 *   the ledger is made anew (another format)                  everything
 *
 * REPLACE: where somebody spoiled the index, an old entry must not keep a tenant from being written.
 */

/** Puts the rows with ids above the first `?`, up to the second, into the index. */
export const INDEX_RANGE_SQL =
  'INSERT OR REPLACE INTO _onewriter_jobs SELECT job_id, id FROM _onewriter_ledger WHERE id > ? AND id <= ?';

/** Puts all rows into the index that belong there. */
export const INDEX_ALL_SQL = `INSERT OR REPLACE INTO _onewriter_jobs SELECT job_id, id FROM _onewriter_ledger WHERE id <= ${LEDGER_INDEXED_TO}`;

/** A commit that is no job's: a restore. */
export interface LedgerNote {
  /** Above all ids that were given. */
  readonly id: number;
  readonly jobId: string;
  readonly commitSeq: number;
  readonly committedAtMs: number;
}

/** Adds a row with an id of its own to the ledger. Belongs into a transaction. */
export function addLedgerNote(db: Database, { id, jobId, commitSeq, committedAtMs }: LedgerNote): void {
  db.prepare(
    `INSERT INTO _onewriter_ledger(id, job_id, commit_seq, committed_at, next_op, results) VALUES (?, ?, ?, ?, NULL, '[]')`,
  ).run(id, jobId, commitSeq, committedAtMs);
  db.exec(INDEX_ALL_SQL);
}
