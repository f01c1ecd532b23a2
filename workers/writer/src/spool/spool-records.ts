import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { CaptureMessage } from '../capture/capture-messages.ts';
import { FRAME_HEADER_BYTES } from '../file/log-check.ts';

/*
 * A spool's file is a row of records, each a message:
 *
 *   magic · length of the text · length of the frames · CRC-32 of the text   32 bits each, big-endian
 *   the message without its frames, as JSON
 *   its frames
 *
 * A killed process leaves whole bytes and perhaps a part of the last record: there the file ends.
 */

const MAGIC = 0x6f777331;
const PREFIX_BYTES = 16;
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

/** What is to be written. */
export function encodeRecord(message: CaptureMessage): readonly Uint8Array[] {
  const frames = message.kind === 'log' ? message.frames : NO_FRAMES;
  const text = Buffer.from(JSON.stringify({ ...message, order: String(message.order), frames: undefined }));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(MAGIC, 0);
  prefix.writeUInt32BE(text.length, 4);
  prefix.writeUInt32BE(frames.byteLength, 8);
  prefix.writeUInt32BE(crc32(text), 12);
  return [prefix, text, new Uint8Array(frames)];
}

/** All whole records of a file. @throws Error of the file system */
export function readRecords(path: string): readonly SpoolRecord[] {
  const records: SpoolRecord[] = [];
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const prefix = Buffer.alloc(PREFIX_BYTES);
    let at = 0;
    while (readSync(file, prefix, 0, PREFIX_BYTES, at) === PREFIX_BYTES) {
      const [textBytes, framesBytes] = [prefix.readUInt32BE(4), prefix.readUInt32BE(8)];
      const framesAt = at + PREFIX_BYTES + textBytes;
      const end = framesAt + framesBytes;
      if (prefix.readUInt32BE(0) !== MAGIC || textBytes > MAX_TEXT_BYTES || end > size) break;
      const text = Buffer.alloc(textBytes);
      if (readSync(file, text, 0, textBytes, at + PREFIX_BYTES) < textBytes) break;
      if (crc32(text) !== prefix.readUInt32BE(12)) break;
      records.push({ path, message: parseMessage(text.toString()), framesAt, framesBytes });
      at = end;
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

function parseMessage(text: string): CaptureMessage {
  const message = JSON.parse(text) as Omit<CaptureMessage, 'order'> & { readonly order: string };
  return { ...message, order: BigInt(message.order), frames: NO_FRAMES } as CaptureMessage;
}
