import { promisify } from 'node:util';
import { constants, deflateRaw, deflateRawSync, inflateRaw } from 'node:zlib';
import { OnewriterError } from '@onewriter/protocol';

/*
 * The pages of some commits of one tenant:
 *
 *   u8 codec ▸ the rest, deflated if the codec says so:
 *   u32 length of the header ▸ header (JSON, filled with spaces to 8 bytes) ▸ page numbers, u32 each, filled to 8 bytes ▸ pages
 *
 * All numbers are little-endian, but for what SQLite itself wrote. A page that is in the body before is stored as what differs from
 * its former version (XOR): commits of one row change few bytes of a page, so that they take a fourth of the room and of the time
 * (infra/adr/0071-differences-before-compression.md).
 */

const compress = promisify(deflateRaw);
const expand = promisify(inflateRaw);

/** Smaller bodies are deflated at once: a hand-over to another thread takes four times as much CPU (16 KiB: 183 us and 40 us). */
const MAX_SYNC_BYTES = 64 * 1024;

const STORED = 0;
const DEFLATED = 1;
const ALIGNMENT = 8;
/** A body is made of at most this much, in bytes: what expands to more was not made here. */
export const MAX_PLAIN_BODY = 256 * 1024 * 1024;

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

/** Where the bytes of a page begin; such as of frames in a log, with headers between the pages. */
export interface PageSource {
  readonly number: number;
  readonly bytes: Buffer;
}

/**
 * Encodes pages in the order of their commits.
 * @param deflates false: faster than any store, where the CPU is short
 */
export async function encodeBody(
  header: SegmentHeader,
  pages: readonly PageSource[],
  deflates = true,
): Promise<Buffer> {
  const { pageSize } = header;
  const text = Buffer.from(JSON.stringify(header));
  const numbersAt = align(4 + text.length);
  const pagesAt = align(numbersAt + 4 * pages.length);
  const plain = Buffer.alloc(pagesAt + pageSize * pages.length);
  plain.writeUInt32LE(numbersAt - 4, 0);
  plain.fill(' ', 4, numbersAt);
  text.copy(plain, 4);
  const before = new Map<number, Buffer>();
  for (const [index, { number, bytes }] of pages.entries()) {
    plain.writeUInt32LE(number, numbersAt + 4 * index);
    const at = pagesAt + pageSize * index;
    bytes.copy(plain, at, 0, pageSize);
    const former = deflates ? before.get(number) : undefined;
    if (former !== undefined) mix(plain.subarray(at, at + pageSize), former);
    before.set(number, bytes);
  }
  if (!deflates) return Buffer.concat([Buffer.of(STORED), plain]);
  const chunkSize = chunkFor(plain.length / 2);
  const options = { level: constants.Z_BEST_SPEED, memLevel: 9, chunkSize };
  const deflated =
    plain.length <= MAX_SYNC_BYTES ? deflateRawSync(plain, options) : await compress(plain, options);
  return Buffer.concat([Buffer.of(DEFLATED), deflated]);
}

/** @throws OnewriterError REPLICA_REFUSED where it is not a body. */
export async function decodeBody(body: Buffer): Promise<SegmentBody> {
  const codec = body[0];
  if (codec !== STORED && codec !== DEFLATED) throw damaged(`has codec ${codec}`);
  const plain = await plainOf(body.subarray(1), codec);
  if (plain.length < 4) throw damaged('is too short');
  const numbersAt = 4 + plain.readUInt32LE(0);
  if (numbersAt > plain.length || numbersAt % ALIGNMENT !== 0)
    throw damaged('has a header of another length');
  const header = parseHeader(plain.toString('utf8', 4, numbersAt));
  const count = header.commits.at(-1)?.frames ?? 0;
  const pagesAt = align(numbersAt + 4 * count);
  const { pageSize } = header;
  if (plain.length !== pagesAt + count * pageSize)
    throw damaged('has another number of pages than its header');
  const numbers = new Uint32Array(count);
  const pages = plain.subarray(pagesAt);
  const before = new Map<number, Buffer>();
  for (let index = 0; index < count; index++) {
    const number = plain.readUInt32LE(numbersAt + 4 * index);
    numbers[index] = number;
    if (codec === STORED) continue;
    const page = pages.subarray(index * pageSize, (index + 1) * pageSize);
    const former = before.get(number);
    if (former !== undefined) mix(page, former);
    before.set(number, page);
  }
  return { header, numbers, pages };
}

async function plainOf(bytes: Buffer, codec: number): Promise<Buffer> {
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

/** `page` becomes what differs from `other`, or the other way round. */
function mix(page: Buffer, other: Buffer): void {
  if (page.byteOffset % 4 === 0 && other.byteOffset % 4 === 0) {
    const words = new Int32Array(page.buffer, page.byteOffset, page.length / 4);
    const others = new Int32Array(other.buffer, other.byteOffset, page.length / 4);
    for (let index = 0; index < words.length; index++) words[index]! ^= others[index]!;
    return;
  }
  for (let index = 0; index < page.length; index++) page[index]! ^= other[index]!;
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
