import { closeSync, openSync, readSync } from 'node:fs';
import { findDatabaseFile } from '@onewriter/protocol';
import { markOf } from '@onewriter/writer';
import {
  type CloseNote,
  FRAME_HEADER_BYTES,
  isSameMark,
  isSamePosition,
  type KnownEnd,
} from './continues.ts';

/** Layout of a log. Source: fileformat2.html, sections 4.1 and 4.2. */
const LOG_HEADER_BYTES = 32;
const LOG_SALTS_AT = 16;
const FRAME_SALTS_AT = 8;
const FRAME_CHECKSUM_AT = 16;
const EIGHT_BYTES = 8;

/**
 * Whether a tenant's file is as it is known, as far as names, times, and two places of its log show. Opens no connection, and never the
 * main file: closing it would drop the locks that SQLite has on it.
 *
 * @param path of the tenant's database
 * @throws OnewriterError TENANT_UNAVAILABLE; errors of the file system
 */
export function isAsKnown(path: string, known: KnownEnd, readNote: () => CloseNote | undefined): boolean {
  const file = findDatabaseFile(path);
  // The broker says when a tenant is deleted.
  if (file === undefined) return true;
  const isSameName = file.incarnation === known.incarnation;
  const log = openIfThere(`${file.path}-wal`);
  try {
    const salts = log === undefined ? '' : readHex(log, LOG_SALTS_AT);
    if (log !== undefined && salts !== '') {
      return isSameName && salts === known.end.salts && endsThere(log, known);
    }
  } finally {
    if (log !== undefined) closeSync(log);
  }
  const note = readNote();
  // It was read whole without a log since.
  if (note === undefined || note.pos < known.pos) return isSameName && known.end.frame === 0;
  const mark = markOf(file.path);
  return (
    note.pos === known.pos &&
    isSamePosition(note.to, known.end) &&
    mark !== undefined &&
    isSameMark(note.mark, mark)
  );
}

/** Whether the log has these frames and no more. */
function endsThere(log: number, { end, pageSize }: KnownEnd): boolean {
  const { salts, frame, checksum } = end;
  const frameAt = (index: number) => LOG_HEADER_BYTES + index * (FRAME_HEADER_BYTES + pageSize);
  if (readHex(log, frameAt(frame) + FRAME_SALTS_AT) === salts) return false;
  return frame === 0 || readHex(log, frameAt(frame - 1) + FRAME_CHECKSUM_AT) === checksum;
}

const bytes = Buffer.alloc(EIGHT_BYTES);

/** '' beyond the end. */
function readHex(file: number, at: number): string {
  return readSync(file, bytes, 0, EIGHT_BYTES, at) < EIGHT_BYTES ? '' : bytes.toString('hex');
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
