import { statSync } from 'node:fs';
import { OnewriterError } from './onewriter-error.ts';

/**
 * The index of the write-ahead log (-shm) in which a reader has noted its snapshot; a checkpoint looks there. If that file is
 * deleted or replaced, the broker makes a new one that does not list the reader: pages that the reader has yet to read may then
 * be of a later state. So a read counts only if the index was still in place after it. A restore or a deletion removes
 * database and index together, and nothing is written back to them: such a snapshot stays valid.
 */
export class SnapshotIndex {
  readonly #database: string;
  readonly #databaseIdentity: string;
  readonly #index: string;
  readonly #indexIdentity: string;

  /** Make it when the snapshot begins. @param databasePath of the file itself; its log is beside it */
  constructor(databasePath: string) {
    this.#database = databasePath;
    this.#index = `${databasePath}-shm`;
    this.#databaseIdentity = identify(databasePath);
    this.#indexIdentity = identify(this.#index);
  }

  /** Whether what is read from now on may be of another state. Costs one call of stat. */
  isReplaced(): boolean {
    return (
      identify(this.#index) !== this.#indexIdentity && identify(this.#database) === this.#databaseIdentity
    );
  }

  /** @throws OnewriterError SNAPSHOT_ENDED */
  assertKept(tenant?: string): void {
    if (this.isReplaced()) throw snapshotLost(tenant);
  }
}

function identify(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? '' : `${stats.dev}:${stats.ino}`;
}

/** The error of a read whose snapshot is no longer protected. */
export function snapshotLost(tenant?: string): OnewriterError {
  return new OnewriterError(
    'SNAPSHOT_ENDED',
    'The read was ended, because the index of the write-ahead log (-shm) was deleted or replaced by something that is not SQLite: the next rows could be of a later state. Begin it again.',
    tenant === undefined ? {} : { tenant },
  );
}
