import { LEDGER_BLOCK_ROWS, LEDGER_ROW_OF_JOB, LIMITS, NEWEST_COMMIT_SEQ_SQL } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { lazily } from './lazily.ts';
import { INDEX_RANGE_SQL } from './ledger-index.ts';

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

/** A commit in the making, with its number. */
export interface NumberedCommit {
  readonly seq: number;
  /** Whether the ledger's last row tells the number; else the row of state has to. */
  told: boolean;
}

/**
 * The record of applied jobs in a tenant's file, with its fence. Its writes belong into the batch's transaction:
 *
 *   advance · record … · prune · seal
 */
export class Ledger {
  readonly #next: Statement<[number], number>;
  readonly #tell: () => Statement<[number]>;
  readonly #newest: () => Statement<[], number>;
  readonly #fileEpoch: () => Statement<[], number>;
  readonly #find: Statement<[string], LedgerRow>;
  readonly #add: Statement<[string, number, number, number | null, string]>;
  readonly #replace: () => Statement<[number, number, number | null, string, string]>;
  readonly #index: () => Statement<[number, number]>;
  readonly #pruneJobs: Statement<
    [{ expired: number; prunable: number; newest: number; maxRows: number }],
    string
  >;
  readonly #unindex: () => Statement<[string]>;
  readonly #pruneKeys: Statement<[number]>;
  #pruneAtMs = 0;

  constructor(db: Database) {
    this.#newest = lazily(() => db.prepare<[], number>(NEWEST_COMMIT_SEQ_SQL).pluck());
    this.#next = db
      .prepare<[number], number>(
        `SELECT (${NEWEST_COMMIT_SEQ_SQL}) + 1 FROM _onewriter_state WHERE id = 1 AND epoch = ?`,
      )
      .pluck();
    this.#tell = lazily(() => db.prepare('UPDATE _onewriter_state SET commit_seq = ? WHERE id = 1'));
    this.#fileEpoch = lazily(() =>
      db.prepare<[], number>('SELECT epoch FROM _onewriter_state WHERE id = 1').pluck(),
    );
    this.#find = db.prepare(
      `SELECT commit_seq, next_op, results FROM _onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`,
    );
    this.#add = db.prepare(
      'INSERT INTO _onewriter_ledger(job_id, commit_seq, committed_at, next_op, results) VALUES (?, ?, ?, ?, ?)',
    );
    this.#replace = lazily(() =>
      db.prepare(
        `UPDATE _onewriter_ledger SET commit_seq = ?, committed_at = ?, next_op = ?, results = ? WHERE ${LEDGER_ROW_OF_JOB}`,
      ),
    );
    this.#index = lazily(() => db.prepare(INDEX_RANGE_SQL));
    // The newest rows stay whatever the clock says: a clock that jumps ahead must not lead to a job applied twice.
    this.#pruneJobs = db
      .prepare<[{ expired: number; prunable: number; newest: number; maxRows: number }], string>(`
      DELETE FROM _onewriter_ledger
      WHERE id IN (SELECT id FROM _onewriter_ledger ORDER BY id LIMIT ${MAX_PRUNED_ROWS})
        AND id <= (SELECT max(id) FROM _onewriter_ledger) - @newest
        AND (committed_at < @expired
          OR (committed_at < @prunable AND id <= (SELECT max(id) FROM _onewriter_ledger) - @maxRows))
      RETURNING job_id`)
      .pluck();
    this.#unindex = lazily(() => db.prepare('DELETE FROM _onewriter_jobs WHERE job_id = ?'));
    this.#pruneKeys = db.prepare(`
      DELETE FROM _onewriter_keys
      WHERE rowid IN (SELECT rowid FROM _onewriter_keys ORDER BY rowid LIMIT ${MAX_PRUNED_ROWS}) AND committed_at < ?`);
  }

  /**
   * Gives the transaction that is open the next commit_seq if `epoch` is still the file's epoch; undefined where the file
   * is fenced. Only reads: BEGIN IMMEDIATE keeps everybody else from writing until COMMIT.
   */
  advance(epoch: number): NumberedCommit | undefined {
    const seq = this.#next.get(epoch);
    return seq === undefined ? undefined : { seq, told: false };
  }

  /** Has the file tell the commit's number. {@link TenantDatabase.commit} does it, so nobody can forget. */
  seal(commit: NumberedCommit): void {
    if (!commit.told) this.#tell().run(commit.seq);
  }

  /** The newest epoch the file has seen. */
  fileEpoch(): number {
    return this.#fileEpoch().get() ?? 0;
  }

  /** The last commit_seq given out. */
  commitSeq(): number {
    return this.#newest().get() ?? 0;
  }

  /** What is known of a job; undefined if nothing of it was committed. */
  find(jobId: string): LedgerRow | undefined {
    return this.#find.get(jobId);
  }

  /**
   * Records a job: done, or up to the write `nextOp`.
   * @param again whether a row of the job may be there already. No index keeps a second one out.
   */
  record(
    commit: NumberedCommit,
    jobId: string,
    committedAtMs: number,
    nextOp: number | null,
    results: string,
    again: boolean,
  ): void {
    // The row keeps its place, which need not be the last, so it does not tell the number.
    if (again && this.#replace().run(commit.seq, committedAtMs, nextOp, results, jobId).changes > 0) return;
    const { lastInsertRowid } = this.#add.run(jobId, commit.seq, committedAtMs, nextOp, results);
    commit.told = true;
    // SQLite gives a row the id behind the largest, so no boundary of a block is passed over.
    const id = Number(lastInsertRowid);
    if (id % LEDGER_BLOCK_ROWS === 0) this.#index().run(id - LEDGER_BLOCK_ROWS, id);
  }

  /**
   * Deletes a bounded number of rows nobody can ask for any more: jobs older than `LIMITS.ledgerRetentionMs`, or
   * above `LIMITS.maxLedgerRows` and older than the longest deadline; keys past their retention. Most calls only
   * look at the clock.
   */
  prune(nowMs: number): void {
    if (nowMs < this.#pruneAtMs) return;
    const jobs = this.#pruneJobs.all({
      expired: nowMs - LIMITS.ledgerRetentionMs,
      prunable: nowMs - LIMITS.maxTimeoutMs,
      newest: LIMITS.maxQueueDepth,
      maxRows: LIMITS.maxLedgerRows,
    });
    for (const job of jobs) this.#unindex().run(job);
    const keys = this.#pruneKeys.run(nowMs - LIMITS.idempotencyRetentionMs);
    const more = jobs.length === MAX_PRUNED_ROWS || keys.changes === MAX_PRUNED_ROWS;
    this.#pruneAtMs = more ? 0 : nowMs + PRUNE_INTERVAL_MS;
  }
}
