import { statfsSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import type { TenantDatabase } from './tenant-database.ts';

/** Bytes of a disk. */
export interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Reads the disk space of a file's file system. */
export type FreeSpace = (path: string) => DiskSpace;

/** A log below this is no danger to a disk: it is written back and cut at 1,000 pages (4 MB) or soon after. */
const HELD_BYTES = 64 * 1024 * 1024;
/** Space that a held log must leave on the disk. The share is that of the finding OnewriterDiskFull, at its critical level. */
const RESERVED_SHARE = 0.03;
const MAX_RESERVED_BYTES = 1024 * 1024 * 1024;
const LOOK_EVERY_MS = 1_000;

/**
 * Refuses the writes of a tenant whose log is held by a reader, before the log has filled the disk for all tenants. The
 * reader may belong to a process that Onewriter cannot end. The tenant is tried again like any without disk space, and a try
 * cuts the log when the reader is gone. See ADR 0037.
 */
export class LogRoom {
  readonly #freeSpace: FreeSpace;
  #space: DiskSpace = { freeBytes: 0, totalBytes: 0 };
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(freeSpace: FreeSpace = lookAtDisk) {
    this.#freeSpace = freeSpace;
  }

  /** Call it before a batch. @throws OnewriterError DATABASE_FULL; none of the batch was applied */
  assertRoom({ tenant, checkpoints, watch }: TenantDatabase): void {
    if (checkpoints.walBytes < HELD_BYTES) return;
    const now = performance.now();
    // All files are on one disk.
    if (now - this.#lookedMs >= LOOK_EVERY_MS) {
      this.#space = this.#freeSpace(watch.walPath);
      this.#lookedMs = now;
    }
    const { freeBytes, totalBytes } = this.#space;
    if (freeBytes >= Math.min(totalBytes * RESERVED_SHARE, MAX_RESERVED_BYTES)) return;
    throw new OnewriterError(
      'DATABASE_FULL',
      'A reader keeps the write-ahead log of this tenant from shrinking, and the disk is nearly full. Other tenants are not affected. End that reader: onewriter doctor names its process.',
      { tenant, reason: 'log held by a reader' },
    );
  }
}

function lookAtDisk(path: string): DiskSpace {
  const { bavail, blocks, bsize } = statfsSync(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}
