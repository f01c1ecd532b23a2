import { LEDGER_BLOCK_ROWS, LEDGER_ROW_OF_JOB, LIMITS, NEWEST_COMMIT_SEQ_SQL } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { lazily } from '../batch/lazily.ts';
import { INDEX_RANGE_SQL } from './ledger-index.ts';
import { type RetentionClock, RetentionMarks } from './retention-marks.ts';

/** Rows that one pruning step deletes at most, so that it delays no transaction. */
const MAX_PRUNED_ROWS = 200;
/** How often the tables are checked when there was nothing left to prune. */
const PRUNE_INTERVAL_MS = 10_000;
/** Keys that are kept whatever the clock says, as many as jobs that may wait. */
const NEWEST_KEYS = LIMITS.maxQueueDepth;

/** The ledger's record of a job. */
export interface LedgerRow {
  readonly commit_seq: number;
  /** Index of the first write that was not tried yet; null when the whole job is done. */
  readonly next_op: number | null;
  /** JSON of WireOperationResult[], as many as writes were tried. */
  readonly results: string;
}

/** A commit in the making, with its number. */
export interface NumberedCommit {
  readonly seq: number;
  /** Whether the ledger's last row has the number; otherwise the row of state must get it. */
  noted: boolean;
}

/**
 * The record of applied jobs in a tenant's file, with its fence. Call its writes in the batch's transaction:
 *
 *   advance · record … · prune · seal
 */
export class Ledger {
  readonly #next: Statement<[number], number>;
  readonly #storeSeq: () => Statement<[number]>;
  readonly #newest: () => Statement<[], number>;
  readonly #fileEpoch: () => Statement<[], number>;
  readonly #find: Statement<[string], LedgerRow>;
  readonly #add: Statement<[string, number, number, number | null, string]>;
  readonly #replace: () => Statement<[number, number, number | null, string, string]>;
  readonly #index: () => Statement<[number, number]>;
  readonly #pruneJobs: () => Statement<
    [{ expired: number; prunable: number; newest: number; maxRows: number }],
    { readonly id: number; readonly job_id: string }
  >;
  readonly #unindex: () => Statement<[string]>;
  readonly #pruneKeys: () => Statement<[{ expired: number; newest: number }]>;
  readonly #marks: RetentionMarks;
  #pruneAtMs = Number.NEGATIVE_INFINITY;

  constructor(db: Database, clock: RetentionClock) {
    this.#marks = new RetentionMarks(db, clock);
    this.#newest = lazily(() => db.prepare<[], number>(NEWEST_COMMIT_SEQ_SQL).pluck());
    this.#next = db
      .prepare<[number], number>(
        `SELECT (${NEWEST_COMMIT_SEQ_SQL}) + 1 FROM sqlite_onewriter_state WHERE id = 1 AND epoch = ?`,
      )
      .pluck();
    this.#storeSeq = lazily(() =>
      db.prepare('UPDATE sqlite_onewriter_state SET commit_seq = ? WHERE id = 1'),
    );
    this.#fileEpoch = lazily(() =>
      db.prepare<[], number>('SELECT epoch FROM sqlite_onewriter_state WHERE id = 1').pluck(),
    );
    this.#find = db.prepare(
      `SELECT commit_seq, next_op, results FROM sqlite_onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`,
    );
    this.#add = db.prepare(
      'INSERT INTO sqlite_onewriter_ledger(job_id, commit_seq, committed_at, next_op, results) VALUES (?, ?, ?, ?, ?)',
    );
    this.#replace = lazily(() =>
      db.prepare(
        `UPDATE sqlite_onewriter_ledger SET commit_seq = ?, committed_at = ?, next_op = ?, results = ? WHERE ${LEDGER_ROW_OF_JOB}`,
      ),
    );
    this.#index = lazily(() => db.prepare(INDEX_RANGE_SQL));
    // The newest rows always stay: pruned too early, a job could be applied twice.
    this.#pruneJobs = lazily(() =>
      db.prepare(`
      DELETE FROM sqlite_onewriter_ledger
      WHERE id IN (SELECT id FROM sqlite_onewriter_ledger ORDER BY id LIMIT ${MAX_PRUNED_ROWS})
        AND id <= (SELECT max(id) FROM sqlite_onewriter_ledger) - @newest
        AND (id <= @expired
          OR (id <= @prunable AND id <= (SELECT max(id) FROM sqlite_onewriter_ledger) - @maxRows))
      RETURNING id, job_id`),
    );
    this.#unindex = lazily(() => db.prepare('DELETE FROM sqlite_onewriter_jobs WHERE job_id = ?'));
    this.#pruneKeys = lazily(() =>
      db.prepare(`
      DELETE FROM sqlite_onewriter_keys
      WHERE rowid IN (SELECT rowid FROM sqlite_onewriter_keys ORDER BY rowid LIMIT ${MAX_PRUNED_ROWS})
        AND rowid <= @expired AND rowid <= (SELECT max(rowid) FROM sqlite_onewriter_keys) - @newest`),
    );
  }

  /**
   * Assigns the open transaction the next commit_seq if `epoch` is still the file's epoch; undefined where the file is fenced.
   * Only reads: BEGIN IMMEDIATE keeps all other writers out until COMMIT.
   */
  advance(epoch: number): NumberedCommit | undefined {
    const seq = this.#next.get(epoch);
    return seq === undefined ? undefined : { seq, noted: false };
  }

  /** Stores the commit's number if no row has it. {@link TenantDatabase.commit} calls it for every commit. */
  seal(commit: NumberedCommit): void {
    if (!commit.noted) this.#storeSeq().run(commit.seq);
  }

  /** The newest epoch the file has seen. */
  fileEpoch(): number {
    return this.#fileEpoch().get() ?? 0;
  }

  /** The last commit_seq issued. */
  commitSeq(): number {
    return this.#newest().get() ?? 0;
  }

  /** The record of a job; undefined if none of it was committed. */
  find(jobId: string): LedgerRow | undefined {
    return this.#find.get(jobId);
  }

  /**
   * Records a job: done, or up to the write `nextOp`.
   * @param again whether the job may already have a row. No index prevents a second one.
   */
  record(
    commit: NumberedCommit,
    jobId: string,
    committedAtMs: number,
    nextOp: number | null,
    results: string,
    again: boolean,
  ): void {
    // The row keeps its place, which need not be the last, so it does not show the number.
    if (again && this.#replace().run(commit.seq, committedAtMs, nextOp, results, jobId).changes > 0) return;
    const { lastInsertRowid } = this.#add.run(jobId, commit.seq, committedAtMs, nextOp, results);
    commit.noted = true;
    // SQLite gives a row the largest id plus one, so no boundary of a block is skipped.
    const id = Number(lastInsertRowid);
    if (id % LEDGER_BLOCK_ROWS === 0) this.#index().run(id - LEDGER_BLOCK_ROWS, id);
  }

  /**
   * A job is recorded, done or in part; before {@link prune}, in the same transaction.
   * @param addedAt when Redis received it, if it was applied in the order of the queue; else undefined.
   */
  noteJob(addedAt: number | undefined): void {
    this.#marks.noteJob(addedAt);
  }

  /** Whether a job that is not in the ledger may have been pruned from it. @param addedAt when Redis received it. */
  mayHavePruned(addedAt: number | undefined): boolean {
    return this.#marks.mayHavePruned(addedAt);
  }

  /** When Redis received the newest job that may be pruned; ms by Redis' clock. */
  get prunedTo(): number {
    return this.#marks.prunedTo;
  }

  /**
   * Deletes a bounded number of rows that are no longer needed for answers: jobs older than `LIMITS.ledgerRetentionMs`, or
   * above `LIMITS.maxLedgerRows` and older than the longest deadline; keys past their retention. Their age is counted by
   * the data directory's clock, which cannot leap. Most calls only read the clock.
   */
  prune(): void {
    const nowMs = this.#marks.nowMs();
    if (nowMs < this.#pruneAtMs) return;
    this.#marks.note(nowMs);
    const expired = this.#marks.olderThan(nowMs, LIMITS.ledgerRetentionMs);
    const prunable = this.#marks.olderThan(nowMs, LIMITS.maxTimeoutMs);
    let more = false;
    if (prunable !== undefined) {
      const jobs = this.#pruneJobs().all({
        expired: expired?.ledger_id ?? 0,
        prunable: prunable.ledger_id,
        newest: LIMITS.maxQueueDepth,
        maxRows: LIMITS.maxLedgerRows,
      });
      let last = 0;
      for (const { id, job_id: jobId } of jobs) {
        this.#unindex().run(jobId);
        last = Math.max(last, id);
      }
      if (jobs.length > 0) {
        const covers = expired !== undefined && last <= expired.ledger_id ? expired : prunable;
        this.#marks.setHorizon(covers, nowMs);
      }
      more = jobs.length === MAX_PRUNED_ROWS;
    }
    const expiredKeys = this.#marks.olderThan(nowMs, LIMITS.idempotencyRetentionMs);
    if (expiredKeys !== undefined) {
      const keys = this.#pruneKeys().run({ expired: expiredKeys.key_id, newest: NEWEST_KEYS });
      more ||= keys.changes === MAX_PRUNED_ROWS;
      this.#marks.forgetBefore(expiredKeys);
    }
    this.#pruneAtMs = more ? Number.NEGATIVE_INFINITY : nowMs + PRUNE_INTERVAL_MS;
  }
}
