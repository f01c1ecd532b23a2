import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { CaptureMessage } from '../capture/capture-messages.ts';
import { FRAME_HEADER_BYTES } from '../file/log-check.ts';

/*
 * A spool's file is a row of records, each a message:
 *
 *   mark                                                             64 bits
 *   length of the text · length of the frames · CRC-32 of the text   32 bits each, big-endian
 *   the message without its frames, as JSON
 *   its frames
 *   mark
 *
 * The mark is random, and the same in all records of a file. Files are written over: behind the last record, and behind the part of one
 * that a killed process did not finish, may be what the file had before, which has another mark.
 */

const MARK_BYTES = 8;
const PREFIX_BYTES = MARK_BYTES + 12;
/** Of a text: what is longer was not written as one. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;
const FRAME_CHECKSUM_AT = 16;
const CHECKSUM_BYTES = 8;
const NO_FRAMES = new ArrayBuffer(0);

/** A message in a spool, whose frames are not read yet. */
export interface SpoolRecord {
  readonly path: string;
  /** Without frames. */
  readonly message: CaptureMessage;
  /** Where the frames lie, in bytes. */
  readonly framesAt: number;
  readonly framesBytes: number;
}

/** For a file that is written from its beginning. */
export function newMark(): Buffer {
  return randomBytes(MARK_BYTES);
}

/** What is to be written, in this order. */
export function encodeRecord(message: CaptureMessage, mark: Buffer): readonly Uint8Array[] {
  const frames = message.kind === 'log' ? message.frames : NO_FRAMES;
  const text = Buffer.from(JSON.stringify({ ...message, order: String(message.order), frames: undefined }));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  mark.copy(prefix);
  prefix.writeUInt32BE(text.length, MARK_BYTES);
  prefix.writeUInt32BE(frames.byteLength, MARK_BYTES + 4);
  prefix.writeUInt32BE(crc32(text), MARK_BYTES + 8);
  return [prefix, text, new Uint8Array(frames), mark];
}

/** All whole records of a file. @throws Error of the file system */
export function readRecords(path: string): readonly SpoolRecord[] {
  const records: SpoolRecord[] = [];
  const file = openSync(path, 'r');
  try {
    const mark = readAt(file, 0, MARK_BYTES);
    let at = 0;
    for (;;) {
      const prefix = readAt(file, at, PREFIX_BYTES);
      if (mark === undefined || !prefix?.subarray(0, MARK_BYTES).equals(mark)) break;
      const textBytes = prefix.readUInt32BE(MARK_BYTES);
      const framesBytes = prefix.readUInt32BE(MARK_BYTES + 4);
      if (textBytes > MAX_TEXT_BYTES) break;
      const text = readAt(file, at + PREFIX_BYTES, textBytes);
      if (text === undefined || crc32(text) !== prefix.readUInt32BE(MARK_BYTES + 8)) break;
      const framesAt = at + PREFIX_BYTES + textBytes;
      if (!readAt(file, framesAt + framesBytes, MARK_BYTES)?.equals(mark)) break;
      records.push({ path, message: parseMessage(text.toString()), framesAt, framesBytes });
      at = framesAt + framesBytes + MARK_BYTES;
    }
  } finally {
    closeSync(file);
  }
  return records;
}

/** The message with its frames; undefined where they are not those that were written. @throws Error of the file system */
export function readMessage({
  path,
  message,
  framesAt,
  framesBytes,
}: SpoolRecord): CaptureMessage | undefined {
  if (message.kind !== 'log') return message;
  const frames = Buffer.allocUnsafeSlow(framesBytes);
  const file = openSync(path, 'r');
  try {
    if (readSync(file, frames, 0, framesBytes, framesAt) < framesBytes) return undefined;
  } finally {
    closeSync(file);
  }
  const { from, to, pageSize } = message;
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  if (framesBytes === 0 || framesBytes !== (to.frame - from.frame) * frameBytes) return undefined;
  // The checksum of SQLite, which is of all frames before it, too.
  const checksumAt = framesBytes - frameBytes + FRAME_CHECKSUM_AT;
  if (frames.toString('hex', checksumAt, checksumAt + CHECKSUM_BYTES) !== to.checksum) return undefined;
  return { ...message, frames: frames.buffer as ArrayBuffer };
}

/** Undefined where the file ends before. */
function readAt(file: number, at: number, bytes: number): Buffer | undefined {
  const buffer = Buffer.alloc(bytes);
  return readSync(file, buffer, 0, bytes, at) === bytes ? buffer : undefined;
}

function parseMessage(text: string): CaptureMessage {
  const message = JSON.parse(text) as Omit<CaptureMessage, 'order'> & { readonly order: string };
  return { ...message, order: BigInt(message.order), frames: NO_FRAMES } as CaptureMessage;
}
