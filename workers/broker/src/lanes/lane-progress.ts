/*
 * What a lane and its thread share while it works: cells that the thread writes as it goes, and by which the lane takes back items
 * of a group that the thread has not begun. See GroupTask.
 */

/** Cell with the number of items begun. */
const BEGUN = 3;
/** Cell with the current job; {@link NO_JOB} until it begins. */
const JOB = 1;
const NO_JOB = -1;
/** Cell with the current write of the job. */
const WRITE = 2;
/** Cell that says whether the thread works on files: it opens, commits, writes back or closes them. */
const AT_FILES = 4;
/** A number that no item has: items not begun are revoked. */
const REVOKED = 1 << 30;

/** How far a thread is with its group. */
export class LaneProgress {
  readonly #cells: Int32Array;

  constructor(cells: Int32Array) {
    this.#cells = cells;
  }

  /** A group is given to the thread. */
  reset(): void {
    Atomics.store(this.#cells, BEGUN, 0);
    Atomics.store(this.#cells, JOB, NO_JOB);
    // Until it begins, it loads or writes a log back.
    Atomics.store(this.#cells, AT_FILES, 1);
  }

  /** The thread gets one task, and no group: it does not count items. */
  beginAlone(): void {
    Atomics.store(this.#cells, BEGUN, 1);
  }

  /** Index of the current item; -1 before the first. */
  get item(): number {
    return (Atomics.load(this.#cells, BEGUN) % REVOKED) - 1;
  }

  /** Whether the thread has begun a job of the group. */
  get hasBegun(): boolean {
    return this.position.job !== NO_JOB;
  }

  /** Index of the job in the current item, and of the write in the job. */
  get position(): { readonly job: number; readonly op: number } {
    return { job: Atomics.load(this.#cells, JOB), op: Atomics.load(this.#cells, WRITE) };
  }

  /** Whether the thread opens, commits, writes back or closes files, or has not begun. */
  get isAtFiles(): boolean {
    return Atomics.load(this.#cells, AT_FILES) === 1;
  }

  /** Takes back the items that the thread has not begun. @returns the index of the first; undefined where they were before */
  revoke(): number | undefined {
    if (Atomics.load(this.#cells, BEGUN) >= REVOKED) return undefined;
    return Atomics.add(this.#cells, BEGUN, REVOKED);
  }
}
