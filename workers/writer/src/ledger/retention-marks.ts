import type { Database, Statement } from 'better-sqlite3';
import { lazily } from '../batch/lazily.ts';

/*
 * How old rows are, by a clock that cannot leap. Wall clocks do, and a key that is pruned too early lets a retry be applied a
 * second time (ADR 0027). So rows are not judged by their `committed_at`: every ten minutes of a tenant with writes a mark is
 * made, and what lies before a mark is as old as the mark.
 *
 *   rows     1 … 812 │ 813 … 2040 │ 2041 … 2055
 *   marks           812          2040                each with its time by the data directory's clock
 *
 * The row with id 0 is the horizon: what was pruned. A job that Redis got before it and that the ledger does not have may
 * have been applied.
 */

/** Counts the time in which brokers led the data directory; never wall time. */
export interface RetentionClock {
  /** Times of clocks with other ids cannot be compared. */
  readonly id: string;
  /** What it is ahead of the machine's monotonic clock, in ms. */
  readonly offsetMs: number;
  /** Asked instead, where a test sets the time. */
  readonly now?: (() => number) | undefined;
}

/** The machine's monotonic clock in ms: the same in all threads, other than `performance.now()`. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + Math.floor(nanoseconds / 1e6);
}

/** What was in the file when a mark was made. */
export interface Mark {
  readonly id: number;
  readonly clock: number;
  /** Newest row of the ledger, and newest key. */
  readonly ledger_id: number;
  readonly key_id: number;
  /** When Redis got the newest job that is in the ledger; ms by Redis' clock, 0 where that is not known. */
  readonly added_at: number;
}

export const MARKS_TABLE = '_onewriter_marks';

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

/** Rows are kept up to this much longer than they have to be. */
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
  /** When Redis got the newest job that was recorded here; undefined where none was. */
  #newestAddedAt: number | undefined;

  constructor(db: Database, clock: RetentionClock) {
    this.#clock = clock;
    this.#prunedTo =
      db.prepare<[], number>(`SELECT added_at FROM ${MARKS_TABLE} WHERE id = 0`).pluck().get() ?? 0;
    // Of another clock, or of this one before it was set back: as if made now. Rows are kept longer then.
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
    // Notes beside the keys come and go, and SQLite gives the newest row's id again: it is not to be that of a key.
    this.#add = lazily(() =>
      db.prepare(`
      INSERT INTO ${MARKS_TABLE}
      SELECT coalesce((SELECT max(id) FROM ${MARKS_TABLE}), 0) + 1, @id, @now,
        coalesce((SELECT max(id) FROM _onewriter_ledger), 0),
        coalesce((SELECT rowid FROM _onewriter_keys WHERE fingerprint <> '' ORDER BY rowid DESC LIMIT 1), 0),
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

  /** A job was recorded, other than one that goes before those that wait. @param addedAt when Redis got it. */
  noteJob(addedAt: number | undefined): void {
    this.#newestAddedAt = Math.max(this.#newestAddedAt ?? 0, addedAt ?? 0);
  }

  /** Whether a job that the ledger does not have may have been applied and pruned. */
  mayHavePruned(addedAt: number | undefined): boolean {
    return addedAt !== undefined && addedAt <= this.#prunedTo;
  }

  /** When Redis got the newest job that may be pruned; ms by Redis' clock, 0: none was. */
  get prunedTo(): number {
    return this.#prunedTo;
  }

  /** Makes a mark where it is time for one. In the transaction of a batch. */
  note(nowMs: number): void {
    const time = { id: this.#clock.id, now: nowMs };
    // The rows of an earlier connection are of jobs up to this one's first.
    if (this.#newestAddedAt === undefined) return;
    this.#rebase().run(time);
    const newest = this.#newest().get();
    if (newest !== undefined && nowMs - newest.clock < MARK_EVERY_MS) return;
    this.#add().run({ ...time, addedAt: Math.max(this.#newestAddedAt, newest?.added_at ?? 0) });
  }

  /** The newest mark that is at least so old. */
  olderThan(nowMs: number, ageMs: number): Mark | undefined {
    return this.#before().get(this.#clock.id, nowMs - ageMs);
  }

  /** Rows of jobs up to this mark were pruned, or will be. In the same transaction. */
  setHorizon({ added_at: addedAt }: Mark, nowMs: number): void {
    if (addedAt <= this.#prunedTo) return;
    this.#setHorizon().run({ id: this.#clock.id, now: nowMs, addedAt });
    this.#prunedTo = addedAt;
  }

  /** Nothing asks for marks before this one any more. */
  forgetBefore(mark: Mark): void {
    this.#forget().run(mark.id);
  }
}
