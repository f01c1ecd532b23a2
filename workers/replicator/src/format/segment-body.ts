import { promisify } from 'node:util';
import { constants, deflateRaw, deflateRawSync, inflateRaw } from 'node:zlib';
import { OnewriterError } from '@onewriter/protocol';
import { decodeDifferences, encodeDifferences, type PageSource } from './page-differences.ts';

/*
 * The pages of some commits of one tenant:
 *
 *   u8 codec ▸ the rest, deflated if the codec says so:
 *   u32 length of the header ▸ header (JSON, filled with spaces to 8 bytes) ▸ page numbers, u32 each, filled to 8 bytes ▸ pages
 *
 * All numbers are little-endian, but for what SQLite itself wrote. Pages are what differs from their former versions in the body
 * (page-differences.ts): commits of one row change few bytes of a page. Deflate then finds little, and costs as much as all the rest
 * (infra/adr/0076-differences-without-what-is-the-same.md). Bodies of the first two codecs are read, and not made any more.
 */

const compress = promisify(deflateRaw);
const expand = promisify(inflateRaw);

/** Smaller bodies are deflated at once: a hand-over to another thread takes four times as much CPU (16 KiB: 183 us and 40 us). */
const MAX_SYNC_BYTES = 64 * 1024;

/** Pages as they are. */
const STORED = 0;
/** Deflated, each page XOR its former version. */
const DEFLATED = 1;
/** Differences, deflated or not. */
const DIFFERENCES = 2;
const DEFLATED_DIFFERENCES = 3;
const CODECS = [STORED, DEFLATED, DIFFERENCES, DEFLATED_DIFFERENCES];
const ALL = () => true;
const ALIGNMENT = 8;
/** A body is made of at most this much, in bytes: what expands to more was not made here. */
export const MAX_PLAIN_BODY = 256 * 1024 * 1024;

export type { PageSource };

const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

/** A commit in a body. */
export interface SegmentCommit {
  readonly pos: number;
  readonly commitSeq: number;
  /** By the broker's clock, ms since the epoch. */
  readonly atMs: number;
  readonly epoch: number;
  /** Size of the database after it, in pages. */
  readonly pages: number;
  /** Pages of the body up to its end. */
  readonly frames: number;
}

export interface SegmentHeader {
  readonly v: 1;
  readonly tenant: string;
  readonly pageSize: number;
  /** In order; a full segment has one, with all pages. */
  readonly commits: readonly SegmentCommit[];
}

/** A body, decoded. */
export interface SegmentBody {
  readonly header: SegmentHeader;
  /** Number of each page, from 1. */
  readonly numbers: Uint32Array;
  /** The pages, in the same order. */
  readonly pages: Buffer;
}

/**
 * Encodes pages in the order of their commits.
 * @param mayDeflate whether these bytes are deflated; asked once
 */
export async function encodeBody(
  header: SegmentHeader,
  pages: readonly PageSource[],
  mayDeflate: (plain: Buffer) => boolean = ALL,
): Promise<Buffer> {
  const text = Buffer.from(JSON.stringify(header));
  const numbersAt = align(4 + text.length);
  const head = Buffer.alloc(align(numbersAt + 4 * pages.length));
  head.writeUInt32LE(numbersAt - 4, 0);
  head.fill(' ', 4, numbersAt);
  text.copy(head, 4);
  for (const [index, { number }] of pages.entries()) head.writeUInt32LE(number, numbersAt + 4 * index);
  const body = Buffer.concat([Buffer.of(DIFFERENCES), head, ...encodeDifferences(pages, header.pageSize)]);
  const plain = body.subarray(1);
  if (!mayDeflate(plain)) return body;
  const options = { level: constants.Z_BEST_SPEED, memLevel: 9, chunkSize: chunkFor(plain.length / 2) };
  const deflated =
    plain.length <= MAX_SYNC_BYTES ? deflateRawSync(plain, options) : await compress(plain, options);
  return Buffer.concat([Buffer.of(DEFLATED_DIFFERENCES), deflated]);
}

/** @throws OnewriterError REPLICA_REFUSED where it is not a body. */
export async function decodeBody(body: Buffer): Promise<SegmentBody> {
  const codec = body[0];
  if (codec === undefined || !CODECS.includes(codec)) throw damaged(`has codec ${codec}`);
  const plain = await plainOf(body.subarray(1), codec);
  if (plain.length < 4) throw damaged('is too short');
  const numbersAt = 4 + plain.readUInt32LE(0);
  if (numbersAt > plain.length || numbersAt % ALIGNMENT !== 0)
    throw damaged('has a header of another length');
  const header = parseHeader(plain.toString('utf8', 4, numbersAt));
  const count = header.commits.at(-1)?.frames ?? 0;
  const pagesAt = align(numbersAt + 4 * count);
  if (pagesAt > plain.length || count * header.pageSize > MAX_PLAIN_BODY)
    throw damaged('has another number of pages than its header');
  const numbers = new Uint32Array(count);
  for (let index = 0; index < count; index++) numbers[index] = plain.readUInt32LE(numbersAt + 4 * index);
  const pages = decodePages(codec, plain.subarray(pagesAt), numbers, header.pageSize);
  if (pages?.length !== count * header.pageSize) throw damaged('has another number of pages than its header');
  return { header, numbers, pages };
}

function decodePages(
  codec: number,
  bytes: Buffer,
  numbers: Uint32Array,
  pageSize: number,
): Buffer | undefined {
  if (codec === DIFFERENCES || codec === DEFLATED_DIFFERENCES) {
    return decodeDifferences(bytes, numbers, pageSize);
  }
  if (codec === DEFLATED) mixAll(bytes, numbers, pageSize);
  return bytes;
}

async function plainOf(bytes: Buffer, codec: number): Promise<Buffer> {
  if (codec === DIFFERENCES) return bytes;
  if (codec === STORED) return Buffer.from(bytes);
  try {
    return await expand(bytes, { maxOutputLength: MAX_PLAIN_BODY, chunkSize: chunkFor(4 * bytes.length) });
  } catch (error) {
    throw damaged(`cannot be expanded (${(error as Error).message})`);
  }
}

/** Node's zlib goes back to the event loop after each chunk; its default of 16 KiB takes longer than the work itself. */
function chunkFor(bytes: number): number {
  return Math.min(MAX_CHUNK_BYTES, Math.max(MIN_CHUNK_BYTES, Math.ceil(bytes)));
}

function parseHeader(text: string): SegmentHeader {
  let header: SegmentHeader;
  try {
    header = JSON.parse(text) as SegmentHeader;
  } catch {
    throw damaged('has a header that cannot be read');
  }
  if (header.v !== 1) throw damaged(`has version ${String(header.v)}`);
  const isPageSize = header.pageSize >= 512 && header.pageSize <= 65_536;
  let frames = 0;
  for (const commit of header.commits) {
    if (commit.frames < frames) throw damaged('has commits out of order');
    ({ frames } = commit);
  }
  if (!isPageSize) throw damaged(`has pages of ${header.pageSize} bytes`);
  return header;
}

/** Each page that is there before becomes itself again. */
function mixAll(pages: Buffer, numbers: Uint32Array, pageSize: number): void {
  const before = new Map<number, Buffer>();
  for (const [index, number] of numbers.entries()) {
    const page = pages.subarray(index * pageSize, (index + 1) * pageSize);
    const former = before.get(number);
    if (former !== undefined) for (let at = 0; at < page.length; at++) page[at]! ^= former[at]!;
    before.set(number, page);
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function damaged(what: string): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `A segment of the replica ${what}: it is damaged, or of a newer version.`,
    {
      reason: 'damaged segment',
    },
  );
}
