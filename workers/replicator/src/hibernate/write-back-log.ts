import type { DataPlace } from '@onewriter/files';
import { OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { RestorePlan } from '../chain/replica-reader.ts';
import { noteClosed } from '../restore/note-closed.ts';
import { isSamePosition } from '../ship/continues.ts';
import { withLiveSnapshot } from '../snapshot/live-snapshot.ts';

/**
 * Writes back the log of a file that is held, as a broker that ends leaves it for its successor, where the store has all of it: its
 * history continues then as if the broker had closed the file. Otherwise all stays as it is.
 * @throws OnewriterError DATABASE_…
 */
export async function writeBackLog(
  place: DataPlace,
  tenant: string,
  file: string,
  { pos, segments }: Pick<RestorePlan, 'pos' | 'segments'>,
): Promise<void> {
  const { entry, cutAt } = segments.at(-1)!;
  const position = await withLiveSnapshot(file, place.busyTimeoutMs, snapshot => snapshot.position);
  if (cutAt !== undefined || !isSamePosition(position, entry.end)) return;
  const db = new Database(file, { fileMustExist: true, timeout: place.busyTimeoutMs });
  try {
    const [{ busy }] = db.pragma('wal_checkpoint(TRUNCATE)') as [{ readonly busy: number }];
    if (busy === 1) {
      const message = `A process reads tenant ${tenant}: its log cannot be written back until that has ended.`;
      throw new OnewriterError('DATABASE_BUSY', message, { tenant });
    }
  } finally {
    // The last to close it removes the log.
    db.close();
  }
  noteClosed(place, tenant, file, pos, entry.end);
}
