import type { Database, Statement } from 'better-sqlite3';
import { lazily } from '../batch/lazily.ts';

/*
 * Determines how old rows are, by a clock that cannot leap. Wall clocks do, and a key that is pruned too early lets a retry be
 * applied a second time (ADR 0027). So rows are not judged by their `committed_at`: every ten minutes of a tenant with writes a
 * mark is made, and rows before a mark are as old as the mark.
 *
 *   rows     1 … 812 │ 813 … 2040 │ 2041 … 2055
 *   marks           812          2040                each with its time by the data directory's clock
 *
 * The row with id 0 is the horizon of pruning. A job that Redis received before it and that the ledger does not have may have
 * been applied.
 */

/** Counts the time in which brokers led the data directory; never wall time. */
export interface RetentionClock {
  /** Times of clocks with other ids cannot be compared. */
  readonly id: string;
  /** How far it is ahead of the machine's monotonic clock, in ms. */
  readonly offsetMs: number;
  /** Used instead in tests that set the time. */
  readonly now?: (() => number) | undefined;
}

/** The machine's monotonic clock in ms: the same in all threads, unlike `performance.now()`. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + Math.floor(nanoseconds / 1e6);
}

/** State of the file when a mark was made. */
export interface Mark {
  readonly id: number;
  readonly clock: number;
  /** Newest row of the ledger, and newest key. */
  readonly ledger_id: number;
  readonly key_id: number;
  /** When Redis received the newest job in the ledger; ms by Redis' clock, 0 where that is unknown. */
  readonly added_at: number;
}

export const MARKS_TABLE = 'sqlite_onewriter_marks';

export const MARKS_SCHEMA = `
CREATE TABLE IF NOT EXISTS ${MARKS_TABLE}(
  id INTEGER PRIMARY KEY,
  clock_id TEXT NOT NULL,
  clock INTEGER NOT NULL,
  ledger_id INTEGER NOT NULL,
  key_id INTEGER NOT NULL,
  added_at INTEGER NOT NULL
) STRICT;
`;

/** How much longer than necessary rows may be kept. */
export const MARK_EVERY_MS = 10 * 60_000;

/** The marks in one tenant's file. */
export class RetentionMarks {
  readonly #clock: RetentionClock;
  readonly #rebase: () => Statement<[{ id: string; now: number }]>;
  readonly #newest: () => Statement<[], Mark>;
  readonly #before: () => Statement<[string, number], Mark>;
  readonly #add: () => Statement<[{ id: string; now: number; addedAt: number }]>;
  readonly #setHorizon: () => Statement<[{ id: string; now: number; addedAt: number }]>;
  readonly #forget: () => Statement<[number]>;
  #prunedTo: number;
  /** When Redis received the newest job that was recorded here; undefined where none was. */
  #newestAddedAt: number | undefined;

  constructor(db: Database, clock: RetentionClock) {
    this.#clock = clock;
    this.#prunedTo =
      db.prepare<[], number>(`SELECT added_at FROM ${MARKS_TABLE} WHERE id = 0`).pluck().get() ?? 0;
    // Marks of another clock, or of this one before it was set back, count as made now. Rows are kept longer then.
    this.#rebase = lazily(() =>
      db.prepare(
        `UPDATE ${MARKS_TABLE} SET clock_id = @id, clock = @now WHERE id > 0 AND (clock_id <> @id OR clock > @now)`,
      ),
    );
    const marks = `SELECT id, clock, ledger_id, key_id, added_at FROM ${MARKS_TABLE} WHERE id > 0`;
    this.#newest = lazily(() => db.prepare<[], Mark>(`${marks} ORDER BY id DESC LIMIT 1`));
    this.#before = lazily(() =>
      db.prepare<[string, number], Mark>(`${marks} AND clock_id = ? AND clock <= ? ORDER BY id DESC LIMIT 1`),
    );
    // Notes among the keys are deleted again, and SQLite reuses the newest row's id: it must not count as a key's.
    this.#add = lazily(() =>
      db.prepare(`
      INSERT INTO ${MARKS_TABLE}
      SELECT coalesce((SELECT max(id) FROM ${MARKS_TABLE}), 0) + 1, @id, @now,
        coalesce((SELECT max(id) FROM sqlite_onewriter_ledger), 0),
        coalesce((SELECT rowid FROM sqlite_onewriter_keys WHERE fingerprint <> '' ORDER BY rowid DESC LIMIT 1), 0),
        @addedAt`),
    );
    this.#setHorizon = lazily(() =>
      db.prepare(`
      INSERT INTO ${MARKS_TABLE} VALUES (0, @id, @now, 0, 0, @addedAt)
      ON CONFLICT(id) DO UPDATE SET added_at = max(added_at, excluded.added_at), clock_id = @id, clock = @now`),
    );
    this.#forget = lazily(() => db.prepare(`DELETE FROM ${MARKS_TABLE} WHERE id > 0 AND id < ?`));
  }

  /** ms by the data directory's clock. */
  nowMs(): number {
    return this.#clock.now?.() ?? monotonicMs() + this.#clock.offsetMs;
  }

  /** A job was recorded that did not overtake waiting ones. @param addedAt when Redis received it. */
  noteJob(addedAt: number | undefined): void {
    this.#newestAddedAt = Math.max(this.#newestAddedAt ?? 0, addedAt ?? 0);
  }

  /** Whether a job that the ledger does not have may have been applied and pruned. */
  mayHavePruned(addedAt: number | undefined): boolean {
    return addedAt !== undefined && addedAt <= this.#prunedTo;
  }

  /** When Redis received the newest job that may be pruned; ms by Redis' clock, 0: none was. */
  get prunedTo(): number {
    return this.#prunedTo;
  }

  /** Makes a mark if one is due. In the transaction of a batch. */
  note(nowMs: number): void {
    const time = { id: this.#clock.id, now: nowMs };
    // The rows of an earlier connection belong to jobs before this one's first.
    if (this.#newestAddedAt === undefined) return;
    this.#rebase().run(time);
    const newest = this.#newest().get();
    if (newest !== undefined && nowMs - newest.clock < MARK_EVERY_MS) return;
    this.#add().run({ ...time, addedAt: Math.max(this.#newestAddedAt, newest?.added_at ?? 0) });
  }

  /** The newest mark of at least this age. */
  olderThan(nowMs: number, ageMs: number): Mark | undefined {
    return this.#before().get(this.#clock.id, nowMs - ageMs);
  }

  /** Rows of jobs up to this mark were pruned, or will be. In the same transaction. */
  setHorizon({ added_at: addedAt }: Mark, nowMs: number): void {
    if (addedAt <= this.#prunedTo) return;
    this.#setHorizon().run({ id: this.#clock.id, now: nowMs, addedAt });
    this.#prunedTo = addedAt;
  }

  /** Deletes marks that are no longer needed. */
  forgetBefore(mark: Mark): void {
    this.#forget().run(mark.id);
  }
}
