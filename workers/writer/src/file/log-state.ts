import { closeSync, openSync, readSync } from 'node:fs';
import { isOutOfDescriptors } from '@onewriter/protocol';

/**
 * Where the log's header has the number of its restarts, and the first salt. Source: fileformat2.html, section 4.1. Each
 * connection counts restarts separately, so two successive logs can have the same number; the salt is in the shared index, and
 * grows by one whenever any connection restarts the log (wal.c, walRestartHdr).
 */
const SEQUENCE_OFFSET = 12;
const SALT_OFFSET = 16;
const SALTS = 2 ** 32;

/** How far the log was written back. */
export interface LogState {
  /** Restarts counted by the connection that began the log; -1 where it has no header yet. */
  readonly sequence: number;
  /** The same after this connection begins a log that has no header. */
  readonly next: number;
  /** First salt of the log; 0 where it has no header. */
  readonly salt: number;
  readonly writtenBack: number;
  /** All of it is written back: the next commit restarts it. */
  readonly complete: boolean;
  /** Changes by other connections: their commits, and cuts of the log. */
  readonly version: number;
}

/**
 * Whether another connection has written the log back, or may have: then a new time of the database file is a checkpoint's.
 * @param then as the last look left it
 */
export function wasWrittenBackByOthers(then: LogState, now: LogState): boolean {
  const othersCommitted = now.version !== then.version;
  // The log was cut, or has been empty: only others' commits would need a checkpoint.
  if (now.sequence === -1) return then.sequence !== -1 || othersCommitted;
  if (then.sequence !== -1 && now.salt === then.salt) return now.writtenBack > then.writtenBack;
  // A commit of this connection restarts a log that is fully written back, or begins one without a header.
  const isNext = then.sequence === -1 ? now.sequence === then.next : now.salt === (then.salt + 1) % SALTS;
  return !(then.complete && isNext) || now.writtenBack > 0 || othersCommitted;
}

/** Whether a log with these salts (hex) is a restart of the other, and not an older one that was put back. */
export function isLaterSalt(salts: string, then: string): boolean {
  const times = firstSalt(salts) - firstSalt(then);
  return (times + SALTS) % SALTS < SALTS / 2;
}

/** It grows by one with each log. */
function firstSalt(salts: string): number {
  return Number.parseInt(salts.slice(0, 8), 16);
}

/** The beginning of a log. */
type LogHeader = Pick<LogState, 'sequence' | 'salt'>;
const NO_HEADER: LogHeader = Object.freeze({ sequence: -1, salt: 0 });

/** Opening and closing the log drops no lock: SQLite locks the database and the index. */
export function readHeader(walPath: string): LogHeader {
  let file: number;
  try {
    file = openSync(walPath, 'r');
  } catch (error) {
    if (isOutOfDescriptors(error)) throw error;
    return NO_HEADER; // it is gone: the next look reports it
  }
  try {
    const header = Buffer.alloc(SALT_OFFSET + 4);
    return readSync(file, header, 0, header.length, 0) < header.length
      ? NO_HEADER
      : { sequence: header.readUInt32BE(SEQUENCE_OFFSET), salt: header.readUInt32BE(SALT_OFFSET) };
  } finally {
    closeSync(file);
  }
}
