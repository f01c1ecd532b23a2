import { fstatSync, readSync } from 'node:fs';
import { FRAME_HEADER_BYTES, LOG_HEADER_BYTES } from '../file/log-check.ts';
import { KEPT_LOG_BYTES } from '../file/wal-checkpoints.ts';
import type { LogPosition } from './capture-messages.ts';
import { readPositionOf } from './log-frames.ts';

/** Offset of the first salt in the header of a log, and in that of a frame. */
const SALT_OFFSET = 16;
const FRAME_SALT_OFFSET = 8;

const bytes = Buffer.alloc(4);

/**
 * Where the log before this one ended. SQLite writes a new log over the former one from the beginning, so the end of the former one
 * stays behind a shorter new one, and it adds one to the first salt, so that shows which log came directly before.
 *
 *   ┃ frames of this log ┃ the rest of the former log ┃ of older logs, or the end of the file
 *   salt:       s + 1                  s                s - 1 …
 *                                      └─ the last one ends a commit: all of the former log up to there, and no more
 *
 * A former log is restarted only when all of it is in the main file.
 *
 * @returns undefined where nothing is left of it, or its end may have been cut off
 */
export function findFormerEnd(file: number, pageSize: number): LogPosition | undefined {
  const salt = readNumber(file, SALT_OFFSET);
  if (salt === undefined) return undefined;
  const former = (salt - 1) >>> 0;
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  const placeOf = (frame: number) => LOG_HEADER_BYTES + (frame - 1) * frameBytes;
  const saltOf = (frame: number) => readNumber(file, placeOf(frame) + FRAME_SALT_OFFSET);
  const { size } = fstatSync(file);
  // The last frame of one of the two logs is between these.
  let low = 0;
  let high = Math.max(0, Math.floor((Math.min(size, KEPT_LOG_BYTES) - LOG_HEADER_BYTES) / frameBytes)) + 1;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const found = saltOf(middle);
    if (found === salt || found === former) low = middle;
    else high = middle;
  }
  // A log beyond its kept size is cut when it is restarted.
  const mayBeCut = placeOf(low + 2) > KEPT_LOG_BYTES;
  return low === 0 || mayBeCut || saltOf(low) !== former ? undefined : readPositionOf(file, low, pageSize);
}

/** Undefined beyond the end. */
function readNumber(file: number, at: number): number | undefined {
  return readSync(file, bytes, 0, bytes.length, at) < bytes.length ? undefined : bytes.readUInt32BE(0);
}
