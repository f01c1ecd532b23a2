import { closeSync, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import type { ReplicaReader } from '../chain/replica-reader.ts';
import type { PackedSegment } from '../format/pack.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import { storeFull } from './store-full.ts';

/**
 * A new full segment of a tenant's newest state, made of what the store has, without the tenant's file.
 * @param number that the segment gets
 * @param scratch path of a file that must not exist; it is gone afterwards
 * @returns the segment, for the next pack
 * @throws OnewriterError POSITION_UNKNOWN, REPLICA_…, ABORTED
 */
export async function snapshotFromStore(
  reader: ReplicaReader,
  tenant: string,
  number: number,
  scratch: string,
  signal?: AbortSignal | undefined,
): Promise<PackedSegment> {
  const plan = await reader.plan(tenant, { kind: 'newest' });
  const { last } = (await reader.state()).tenants.get(tenant)!;
  await restoreToFile(reader, plan, scratch, { signal });
  const file = openSync(scratch, 'r');
  try {
    const { pageSize } = plan.segments[0]!.entry;
    // Not that of the last segment, which may be cut.
    const pages = fstatSync(file).size / pageSize;
    const { commitSeq, atMs } = plan;
    const { epoch, incarnation, end } = last!;
    const source = {
      pageSize,
      pages,
      read: (first: number, into: Buffer) => readAll(file, into, (first - 1) * pageSize),
    };
    return await storeFull(
      reader.store,
      reader.keys,
      source,
      { tenant, pos: number, commitSeq, atMs, epoch, incarnation, end },
      signal,
    );
  } finally {
    closeSync(file);
    rmSync(scratch, { force: true });
  }
}

function readAll(file: number, into: Buffer, position: number): void {
  for (let done = 0; done < into.length; ) {
    const read = readSync(file, into, done, into.length - done, position + done);
    if (read === 0) throw new OnewriterError('INTERNAL', 'A scratch file ended before its last page.');
    done += read;
  }
}
