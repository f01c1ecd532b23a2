import {
  type OnewriterError,
  realDatabasePath,
  SNAPSHOT_LOOK_MS,
  SnapshotBound,
  snapshotEnded,
  tenantFile,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';

/** Settings of {@link HeldSnapshots}. */
export interface HeldSnapshotsOptions {
  readonly dataDir: string;
  readonly dbFile: string;
  /** A snapshot ends when a write-ahead log has grown by so much behind it. */
  readonly snapshotLogBytes: number;
  readonly log: Logger;
}

/** A read, or a kept transaction, that holds a snapshot of a tenant's file. */
interface HeldSnapshot {
  readonly tenant: string;
  /** Undefined until it is first looked at: most reads end before. */
  bound: SnapshotBound | undefined;
  readonly end: (error: OnewriterError) => void;
}

/**
 * Ends reads that keep a write-ahead log from being reset while much is written. A read inside SQLite cannot check this
 * itself.
 */
export class HeldSnapshots {
  readonly #options: HeldSnapshotsOptions;
  readonly #held = new Set<HeldSnapshot>();
  readonly #looking: NodeJS.Timeout;

  constructor(options: HeldSnapshotsOptions) {
    this.#options = options;
    this.#looking = setInterval(() => this.look(), SNAPSHOT_LOOK_MS).unref();
  }

  /** @returns a function that says it is held no longer; idempotent. */
  add(tenant: string, end: (error: OnewriterError) => void): () => void {
    const snapshot: HeldSnapshot = { tenant, bound: undefined, end };
    this.#held.add(snapshot);
    return () => void this.#held.delete(snapshot);
  }

  /** Ends those that have reached their bound; the first look at one measures its log. */
  look(): void {
    const { dataDir, dbFile, snapshotLogBytes, log } = this.#options;
    for (const snapshot of [...this.#held]) {
      const { tenant } = snapshot;
      if (snapshot.bound === undefined) {
        const path = realDatabasePath(tenantFile(dataDir, tenant, dbFile));
        snapshot.bound = new SnapshotBound(path, snapshotLogBytes);
      } else if (snapshot.bound.isReached()) {
        log.warn({ tenant }, 'A read was ended: its snapshot kept the log growing');
        snapshot.end(snapshotEnded(tenant, 'Fetch the rows faster, or read in smaller pieces.'));
      }
    }
  }

  close(): void {
    clearInterval(this.#looking);
  }
}
