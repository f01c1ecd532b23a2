import { LIMITS } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';

/** Rows that one pruning step deletes at most, so that no transaction is held up by it. */
const MAX_PRUNED_ROWS = 200;
/** How often the tables are looked at when there was nothing left to prune. */
const PRUNE_INTERVAL_MS = 10_000;

/** What the ledger knows of a job. */
export interface LedgerRow {
  readonly commit_seq: number;
  /** Index of the first write that was not tried yet; null when the whole job is done. */
  readonly next_op: number | null;
  /** JSON of WireOperationResult[], as many as writes were tried. */
  readonly results: string;
}

/** The record of applied jobs in a tenant's file, with its fence. Its writes belong into the batch's transaction. */
export class Ledger {
  readonly #advance: Statement<[number], number>;
  readonly #fileEpoch: Statement<[], number>;
  readonly #db: Database;
  readonly #find: Statement<[string], LedgerRow>;
  readonly #record: Statement<[string, number, number, number | null, string]>;
  readonly #pruneJobs: Statement<[{ expired: number; prunable: number; newest: number; maxRows: number }]>;
  readonly #pruneKeys: Statement<[number]>;
  #pruneAtMs = 0;

  constructor(db: Database) {
    this.#db = db;
    this.#advance = db
      .prepare<[number], number>(
        'UPDATE _onewriter_state SET commit_seq = commit_seq + 1 WHERE id = 1 AND epoch = ? RETURNING commit_seq',
      )
      .pluck();
    this.#fileEpoch = db.prepare<[], number>('SELECT epoch FROM _onewriter_state WHERE id = 1').pluck();
    this.#find = db.prepare('SELECT commit_seq, next_op, results FROM _onewriter_ledger WHERE job_id = ?');
    this.#record = db.prepare(`
      INSERT INTO _onewriter_ledger(job_id, commit_seq, committed_at, next_op, results) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT(job_id) DO UPDATE SET commit_seq = excluded.commit_seq, committed_at = excluded.committed_at,
        next_op = excluded.next_op, results = excluded.results`);
    // The newest rows stay whatever the clock says: a clock that jumps ahead must not lead to a job applied twice.
    this.#pruneJobs = db.prepare(`
      DELETE FROM _onewriter_ledger
      WHERE id IN (SELECT id FROM _onewriter_ledger ORDER BY id LIMIT ${MAX_PRUNED_ROWS})
        AND id <= (SELECT max(id) FROM _onewriter_ledger) - @newest
        AND (committed_at < @expired
          OR (committed_at < @prunable AND id <= (SELECT max(id) FROM _onewriter_ledger) - @maxRows))`);
    this.#pruneKeys = db.prepare(`
      DELETE FROM _onewriter_keys
      WHERE rowid IN (SELECT rowid FROM _onewriter_keys ORDER BY rowid LIMIT ${MAX_PRUNED_ROWS}) AND committed_at < ?`);
  }

  /** Takes the next commit_seq if `epoch` is still the file's epoch; undefined where the file is fenced. */
  advance(epoch: number): number | undefined {
    return this.#advance.get(epoch);
  }

  /** The newest epoch the file has seen. */
  fileEpoch(): number {
    return this.#fileEpoch.get() ?? 0;
  }

  /** The last commit_seq given out. */
  commitSeq(): number {
    return Number(
      this.#db.prepare('SELECT commit_seq FROM _onewriter_state WHERE id = 1').pluck().get() ?? 0,
    );
  }

  /** What is known of a job; undefined if nothing of it was committed. */
  find(jobId: string): LedgerRow | undefined {
    return this.#find.get(jobId);
  }

  /** Records a job: done, or up to the write `nextOp`. */
  record(
    jobId: string,
    commitSeq: number,
    committedAtMs: number,
    nextOp: number | null,
    results: string,
  ): void {
    this.#record.run(jobId, commitSeq, committedAtMs, nextOp, results);
  }

  /**
   * Deletes a bounded number of rows nobody can ask for any more: jobs older than `LIMITS.ledgerRetentionMs`, or
   * above `LIMITS.maxLedgerRows` and older than the longest deadline; keys past their retention. Most calls only
   * look at the clock.
   */
  prune(nowMs: number): void {
    if (nowMs < this.#pruneAtMs) return;
    const jobs = this.#pruneJobs.run({
      expired: nowMs - LIMITS.ledgerRetentionMs,
      prunable: nowMs - LIMITS.maxTimeoutMs,
      newest: LIMITS.maxQueueDepth,
      maxRows: LIMITS.maxLedgerRows,
    });
    const keys = this.#pruneKeys.run(nowMs - LIMITS.idempotencyRetentionMs);
    const more = jobs.changes === MAX_PRUNED_ROWS || keys.changes === MAX_PRUNED_ROWS;
    this.#pruneAtMs = more ? 0 : nowMs + PRUNE_INTERVAL_MS;
  }
}
