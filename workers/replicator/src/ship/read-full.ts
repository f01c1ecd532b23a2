import { type BigIntStats, close, fdatasync, open, stat } from 'node:fs';
import { promisify } from 'node:util';
import { type DataPlace, jobLimits } from '@onewriter/files';
import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import type { FileMark } from '@onewriter/writer';
import type { ReplicaAccess } from '../jobs/replica-access.ts';
import { snapshotTenant } from '../snapshot/snapshot-tenant.ts';
import type { ReadFull } from './full-queue.ts';

const statFile = promisify(stat) as (path: string, options: { bigint: true }) => Promise<BigIntStats>;
const openFile = promisify(open);
const flushFile = promisify(fdatasync);
const closeFile = promisify(close);

/** Some parts of 32 MiB, plain, deflated and encrypted, and what Node itself takes. */
const MEMORY_BYTES = 1024 * 1024 * 1024;

/** Reads files in a process of low priority. */
export function readFullInProcess(place: DataPlace, access: ReplicaAccess): ReadFull {
  const { dataDir, dbFile } = place;
  return async (tenant, pos, signal) => {
    const path = realDatabasePath(tenantFile(dataDir, tenant, dbFile));
    const before = await markIfThere(path);
    const limits = jobLimits(place, MEMORY_BYTES);
    const { entry, body } = await snapshotTenant({ place, access, tenant, pos, limits, signal });
    // It has commits that may not be flushed yet: no copy is ahead of the disk.
    await flushIfThere(`${path}-wal`);
    const mark = entry.end.salts === '' ? await markIfThere(path) : undefined;
    return { entry, body, mark: mark !== undefined && isSame(before, mark) ? mark : undefined };
  };
}

async function markIfThere(path: string): Promise<FileMark | undefined> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await statFile(path, { bigint: true });
    return { ino: String(ino), size: Number(size), mtimeNs: String(mtimeNs), ctimeNs: String(ctimeNs) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A log that is gone was written back, and flushed before that. */
async function flushIfThere(path: string): Promise<void> {
  let fd: number;
  try {
    fd = await openFile(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    await flushFile(fd);
  } finally {
    await closeFile(fd);
  }
}

function isSame(one: FileMark | undefined, other: FileMark): boolean {
  return one !== undefined && JSON.stringify(one) === JSON.stringify(other);
}
