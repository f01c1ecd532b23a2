import { statSync } from 'node:fs';
import { orDenied } from './database-file.ts';
import { LIMITS } from './limits.ts';
import { OnewriterError } from './onewriter-error.ts';

/** Beyond twice the bound a snapshot may be this old, however little was written behind it. */
const GRACE_MS = 5_000;
/** How often a reader looks. In that time a fast disk takes some tens of MB. */
export const SNAPSHOT_LOOK_MS = 1_000;

/**
 * How much of the write-ahead log a reader's snapshot may hold. While a reader keeps its snapshot, the log cannot begin
 * again and grows with each commit. A reader measures what was written since it began, not the size of the log: one
 * that a process outside Onewriter holds must not end each new read at once. Where many readers overlap, the log never
 * begins again although each of them stays within its bound; so above twice the bound they end after five seconds.
 */
export class SnapshotBound {
  readonly #walPath: string;
  readonly #maxLogBytes: number;
  readonly #startBytes: number;
  readonly #startMs = performance.now();

  /** @param databasePath of the file itself; its log is beside it */
  constructor(databasePath: string, maxLogBytes: number = LIMITS.maxSnapshotLogBytes) {
    this.#walPath = `${databasePath}-wal`;
    this.#maxLogBytes = maxLogBytes;
    this.#startBytes = this.#size();
  }

  /** Whether the snapshot has to end. Costs one call of stat. */
  isReached(): boolean {
    const bytes = this.#size();
    const grown = bytes - this.#startBytes;
    if (grown >= this.#maxLogBytes) return true;
    return grown > 0 && bytes >= 2 * this.#maxLogBytes && performance.now() - this.#startMs >= GRACE_MS;
  }

  #size(): number {
    try {
      return statSync(this.#walPath, { throwIfNoEntry: false })?.size ?? 0;
    } catch (error) {
      // A folder that lost its rights meanwhile: the read itself reports it, this look must not fail for it.
      if (orDenied(error, this.#walPath) === error) throw error;
      return this.#startBytes ?? 0;
    }
  }
}

/** What the caller of a read that was ended gets. @param remedy a sentence for people */
export function snapshotEnded(tenant: string, remedy: string): OnewriterError {
  return new OnewriterError(
    'SNAPSHOT_ENDED',
    `The read was ended, because its snapshot kept the write-ahead log from shrinking while much was written. ${remedy}`,
    { tenant },
  );
}
