import { readSync } from 'node:fs';
import { FRAME_HEADER_BYTES, LOG_HEADER_BYTES } from '../file/log-check.ts';
import type { LogPosition } from './capture-messages.ts';

/** Offsets in the header of a log, and in that of a frame. Source: fileformat2.html, sections 4.1 and 4.2. */
const SALTS_OFFSET = 16;
const COMMIT_OFFSET = 4;
const FRAME_SALTS_OFFSET = 8;
const CHECKSUM_OFFSET = 16;
const CHECKSUM_BYTES = 8;

/** There is no log, or nothing in it. */
export const NO_LOG: LogPosition = Object.freeze({ salts: '', frame: 0, checksum: '' });

const logHeader = Buffer.alloc(LOG_HEADER_BYTES);
const frameHeader = Buffer.alloc(FRAME_HEADER_BYTES);

/** Both salts of a log, 16 hex digits; '' where it has no header. */
export function readSalts(file: number): string {
  if (readSync(file, logHeader, 0, LOG_HEADER_BYTES, 0) < LOG_HEADER_BYTES) return '';
  return logHeader.toString('hex', SALTS_OFFSET, SALTS_OFFSET + CHECKSUM_BYTES);
}

/**
 * The place behind a frame of a log.
 * @param frame how many frames are before it
 * @returns undefined where no commit ends there
 */
export function readPosition(file: number, frame: number, pageSize: number): LogPosition | undefined {
  if (frame === 0) return NO_LOG;
  const salts = readSalts(file);
  const position = readPositionOf(file, frame, pageSize);
  return salts !== '' && position?.salts === salts ? position : undefined;
}

/** The same for a frame of any log that the file has a part of. */
export function readPositionOf(file: number, frame: number, pageSize: number): LogPosition | undefined {
  const offset = LOG_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize);
  if (readSync(file, frameHeader, 0, FRAME_HEADER_BYTES, offset) < FRAME_HEADER_BYTES) return undefined;
  if (frameHeader.readUInt32BE(COMMIT_OFFSET) === 0) return undefined;
  const salts = frameHeader.toString('hex', FRAME_SALTS_OFFSET, FRAME_SALTS_OFFSET + CHECKSUM_BYTES);
  return { salts, frame, checksum: checksumOf(frameHeader, 0) };
}

/** The frames to read. */
export interface WantedFrames {
  readonly pageSize: number;
  /** From here on. */
  readonly from: LogPosition;
  /** All commits up to this frame, however many they are; and then … */
  readonly othersTo: number;
  /** … so many commits. */
  readonly commits: number;
  /** Frames that are probably wanted: to read them at once. */
  readonly expected: number;
  /** A piece with a commit in it ends here; */
  readonly pieceBytes: number;
  /** and a commit may be as large as this. */
  readonly maxBytes: number;
}

/** Whole commits of a log. */
export interface ReadFrames {
  readonly frames: ArrayBuffer;
  /** For each commit: frames up to its end, and the size of the database after it. */
  readonly ends: readonly { readonly frames: number; readonly pages: number }[];
  readonly to: LogPosition;
}

/**
 * Reads commits of a log, as many as are wanted or fit into a piece. Frames beyond the wanted commits do not count, whatever they
 * are: SQLite writes a large transaction to the log before it commits.
 *
 * @returns `short` where the log has fewer commits: it is not the log that it was.
 */
export function readCommits(file: number, wanted: WantedFrames): ReadFrames | 'short' | 'too large' {
  const { pageSize, from, othersTo, pieceBytes, maxBytes } = wanted;
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  const maxFrames = Math.max(1, Math.floor(maxBytes / frameBytes));
  const pieceFrames = Math.min(maxFrames, Math.max(1, Math.floor(pieceBytes / frameBytes)));
  const salt1 = Number.parseInt(from.salts.slice(0, 8), 16);
  const salt2 = Number.parseInt(from.salts.slice(8), 16);
  const start = LOG_HEADER_BYTES + from.frame * frameBytes;
  const ends: { frames: number; pages: number }[] = [];
  let missing = wanted.commits;
  let bytes: Buffer = Buffer.alloc(0);
  let frames = 0;
  for (;;) {
    const size = Math.min(pieceFrames, Math.max(wanted.expected, 1));
    const room = frames === 0 ? size : Math.min(maxFrames, frames * 2);
    if (room === frames) return 'too large';
    // Not cleared, not of the pool: it is read over, and transferred.
    const larger = Buffer.allocUnsafeSlow(room * frameBytes);
    bytes.copy(larger);
    const read = readSync(file, larger, bytes.length, larger.length - bytes.length, start + bytes.length);
    const there = Math.floor((bytes.length + read) / frameBytes);
    bytes = larger;
    for (; frames < there; frames++) {
      const at = frames * frameBytes;
      const isOfLog =
        bytes.readUInt32BE(at + FRAME_SALTS_OFFSET) === salt1 &&
        bytes.readUInt32BE(at + FRAME_SALTS_OFFSET + 4) === salt2 &&
        bytes.readUInt32BE(at) !== 0;
      if (!isOfLog) return 'short';
      const pages = bytes.readUInt32BE(at + COMMIT_OFFSET);
      if (pages === 0) continue;
      ends.push({ frames: frames + 1, pages });
      if (from.frame + frames + 1 > othersTo) missing--;
      if (missing <= 0 && from.frame + frames + 1 >= othersTo) return cut(bytes, ends, wanted);
    }
    if (there < room) return 'short';
    if (frames >= pieceFrames && ends.length > 0) return cut(bytes, ends, wanted);
  }
}

function cut(bytes: Buffer, ends: ReadFrames['ends'], { pageSize, from }: WantedFrames): ReadFrames {
  const { frames } = ends.at(-1)!;
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  const all = bytes.buffer as ArrayBuffer;
  const length = frames * frameBytes;
  return {
    frames: length === all.byteLength ? all : all.slice(0, length),
    ends,
    to: {
      salts: from.salts,
      frame: from.frame + frames,
      checksum: checksumOf(bytes, length - frameBytes),
    },
  };
}

function checksumOf(bytes: Buffer, frameAt: number): string {
  const at = frameAt + CHECKSUM_OFFSET;
  return bytes.toString('hex', at, at + CHECKSUM_BYTES);
}
