import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { endianness } from 'node:os';

/*
 * The layout of a write-ahead log. Source: https://www.sqlite.org/fileformat2.html, sections 4.1 and 4.2.
 *
 *   header   magic · version · page size · sequence · salt 1 · salt 2 · checksum 1 · checksum 2
 *   frame    page number · size of the database after a commit, else 0 · salt 1 · salt 2 · checksum 1 · checksum 2 · the page
 *
 * All are 32 bits, big-endian. A checksum is of all before it, from the header on.
 */
export const LOG_HEADER_BYTES = 32;
export const FRAME_HEADER_BYTES = 24;
/** The last bit: whether checksums are of big-endian words. */
const MAGIC = 0x377f0682;
const PAGE_SIZE_OFFSET = 8;
const SALTS_OFFSET = 16;
const SALTS_BYTES = 8;
const HEADER_CHECKSUM_OFFSET = 24;
/** Offsets in a frame. */
const COMMIT_OFFSET = 4;
const FRAME_SALTS_OFFSET = 8;
const FRAME_CHECKSUM_OFFSET = 16;

/** Bytes read at once in a check of the log. */
const CHUNK_BYTES = 1024 * 1024;

/** The part of a log that SQLite would recover. */
export interface ValidLog {
  /** Both salts, as hex: another log has others. */
  readonly salts: string;
  /** Frames in a row with the right salts and checksums. */
  readonly frames: number;
  /** The last of them that ends a commit; 0 where none does. */
  readonly committed: number;
  /** The end of that frame in the file, in bytes. */
  readonly committedBytes: number;
}

const NOTHING: ValidLog = Object.freeze({ salts: '', frames: 0, committed: 0, committedBytes: 0 });

/** Runs `use` with an open log. Opening and closing the log drops no lock: SQLite locks the database and the index. */
export function withLog<Result>(path: string, use: (file: number) => Result): Result {
  const file = openSync(path, 'r');
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}

/** Attributes that a write to the file changes. */
export interface LogMark {
  readonly size: number;
  readonly mtimeMs: number;
}

export function markOfOpen(file: number): LogMark {
  const { size, mtimeMs } = fstatSync(file);
  return { size, mtimeMs };
}

/** Reused after each batch. */
const frameHeader = Buffer.alloc(FRAME_HEADER_BYTES);

/** Whether a frame ends a commit of the log with these salts. @param frame its number, from 1 */
export function endsCommitOf(file: number, salts: string, frame: number, pageSize: number): boolean {
  const header = frameHeader;
  const offset = LOG_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize);
  if (readSync(file, header, 0, header.length, offset) < header.length) return false;
  return saltsAt(header, FRAME_SALTS_OFFSET) === salts && header.readUInt32BE(COMMIT_OFFSET) !== 0;
}

/**
 * Reads a log as SQLite does after a crash, but keeps nothing. Costs about 2 ms for each MB.
 * @param maxFrames how many frames to read at most
 */
export function readValidLog(file: number, maxFrames: number): ValidLog {
  const header = Buffer.alloc(LOG_HEADER_BYTES);
  if (readSync(file, header, 0, header.length, 0) < header.length) return NOTHING;
  const magic = header.readUInt32BE(0);
  if ((magic & ~1) !== MAGIC) return NOTHING;
  const isForeign = ((magic & 1) === 1) !== (endianness() === 'BE');
  const pageSize = header.readUInt32BE(PAGE_SIZE_OFFSET);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return NOTHING;
  let first = 0;
  let second = 0;
  const add = (words: Int32Array, from: number, to: number) => {
    for (let at = from / 4; at < to / 4; at += 2) {
      first = (first + words[at]! + second) | 0;
      second = (second + words[at + 1]! + first) | 0;
    }
  };
  const agrees = (bytes: Buffer, at: number) =>
    bytes.readInt32BE(at) === first && bytes.readInt32BE(at + 4) === second;
  add(toWords(header, isForeign), 0, HEADER_CHECKSUM_OFFSET);
  if (!agrees(header, HEADER_CHECKSUM_OFFSET)) return NOTHING;
  const salts = saltsAt(header, SALTS_OFFSET);
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  // No larger than the log: memory that is filled with zeros for each opening would cost more than the rest of it.
  const framesThere = Math.ceil((fstatSync(file).size - LOG_HEADER_BYTES) / frameBytes);
  const framesAtOnce = Math.max(1, Math.min(Math.floor(CHUNK_BYTES / frameBytes), framesThere, maxFrames));
  const chunk = Buffer.alloc(framesAtOnce * frameBytes);
  let frames = 0;
  let committed = 0;
  const end = () => ({ salts, frames, committed, committedBytes: LOG_HEADER_BYTES + committed * frameBytes });
  while (frames < maxFrames) {
    const wanted = Math.min(chunk.length, (maxFrames - frames) * frameBytes);
    const bytes = readSync(file, chunk, 0, wanted, LOG_HEADER_BYTES + frames * frameBytes);
    const words = toWords(chunk.subarray(0, bytes - (bytes % frameBytes)), isForeign);
    for (let at = 0; at + frameBytes <= bytes; at += frameBytes) {
      if (saltsAt(chunk, at + FRAME_SALTS_OFFSET) !== salts || chunk.readUInt32BE(at) === 0) return end();
      add(words, at, at + FRAME_SALTS_OFFSET);
      add(words, at + FRAME_HEADER_BYTES, at + frameBytes);
      if (!agrees(chunk, at + FRAME_CHECKSUM_OFFSET)) return end();
      frames++;
      if (chunk.readUInt32BE(at + COMMIT_OFFSET) !== 0) committed = frames;
    }
    if (bytes < wanted) break;
  }
  return end();
}

/** @param isForeign they were written on a machine with the other byte order */
function toWords(bytes: Buffer, isForeign: boolean): Int32Array {
  const { buffer, byteOffset, length } = isForeign ? Buffer.from(bytes).swap32() : bytes;
  return new Int32Array(buffer, byteOffset, length / 4);
}

function saltsAt(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + SALTS_BYTES);
}
