import { openReadOnly, readState, SnapshotPages } from '@onewriter/files';
import { OnewriterError, SnapshotIndex } from '@onewriter/protocol';
import type { LogPosition } from '@onewriter/writer';
import type { Database } from 'better-sqlite3';

/** A moment of a tenant's file that is in use, held while it is read. */
export interface LiveSnapshot {
  readonly db: Database;
  readonly position: LogPosition;
  readonly commitSeq: number;
  readonly epoch: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly read: (first: number, into: Buffer) => void;
}

/**
 * Holds a moment of a file. Until `look` is done the log of the file grows.
 * @param file the database itself, no link to it
 * @throws OnewriterError DATABASE_…, SNAPSHOT_ENDED, and what `look` throws
 */
export async function withLiveSnapshot<T>(
  file: string,
  busyTimeoutMs: number,
  look: (snapshot: LiveSnapshot) => Promise<T> | T,
): Promise<T> {
  const db = openReadOnly(file, busyTimeoutMs);
  const pages = new SnapshotPages(file);
  try {
    pages.begin(db);
    const index = new SnapshotIndex(file);
    const { position } = pages;
    if (position === undefined) {
      const message = `The pages of ${file} cannot be read beside SQLite here: its log is not what its index says, or others commit all the time. Try again.`;
      throw new OnewriterError('DATABASE_BUSY', message);
    }
    const state = readState(db);
    const seen = await look({
      db,
      position,
      commitSeq: state?.commitSeq ?? 0,
      epoch: state?.epoch ?? 0,
      pageSize: db.pragma('page_size', { simple: true }) as number,
      pages: db.pragma('page_count', { simple: true }) as number,
      read: (first, into) => pages.read(first, into),
    });
    index.assertKept();
    db.exec('COMMIT');
    return seen;
  } finally {
    db.close();
    pages.close();
  }
}
