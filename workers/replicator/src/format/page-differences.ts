/*
 * Pages as what differs from the page of the same number before them in the same body; the first one of a number differs from a page of
 * zeros. In words of 32 bits:
 *
 *   u16 words that are the same ▸ u16 words that differ ▸ those, XOR the former ones      again and again, to the end of the page
 *
 * No page takes more than one word more than it has.
 */

/** A page in a list of pages; such as a frame in a log, with headers between the pages. */
export interface PageSource {
  readonly number: number;
  readonly bytes: Buffer;
}

const WORD_BYTES = 4;
const MAX_PAGE_BYTES = 65_536;
const ZEROS = new Int32Array(MAX_PAGE_BYTES / WORD_BYTES);
const CHUNK_WORDS = 256 * 1024;

/** Written over again and again: fresh memory costs more than what is done with it. */
const reused = new Int32Array(CHUNK_WORDS);

/** @returns the parts of the whole, the last of which is valid until the next call */
export function encodeDifferences(pages: readonly PageSource[], pageSize: number): Buffer[] {
  const words = pageSize / WORD_BYTES;
  const before = new Map<number, Int32Array>();
  const full: Buffer[] = [];
  let end = 0;
  for (const { number, bytes } of pages) {
    if (end + words + 1 > CHUNK_WORDS) {
      full.push(Buffer.from(bytesOf(reused, end)));
      end = 0;
    }
    const page = wordsOf(bytes, words);
    end = encodePage(page, before.get(number) ?? ZEROS, end);
    before.set(number, page);
  }
  return [...full, bytesOf(reused, end)];
}

/** @returns where the next page begins in {@link reused} */
function encodePage(page: Int32Array, former: Int32Array, begin: number): number {
  const { length } = page;
  let at = begin;
  for (let word = 0; word < length; ) {
    const from = word;
    while (word < length && page[word] === former[word]) word++;
    const differs = word;
    const head = at++;
    while (word < length) {
      const difference = page[word]! ^ former[word]!;
      // A single word that is the same takes no more room than a new beginning.
      if (difference === 0 && (word + 1 >= length || page[word + 1] === former[word + 1])) break;
      reused[at++] = difference;
      word++;
    }
    reused[head] = (differs - from) | ((word - differs) << 16);
  }
  return at;
}

/**
 * @param numbers of the pages, in order
 * @returns the pages; undefined where the bytes are not so many pages
 */
export function decodeDifferences(bytes: Buffer, numbers: Uint32Array, pageSize: number): Buffer | undefined {
  if (bytes.length % WORD_BYTES !== 0) return undefined;
  const words = pageSize / WORD_BYTES;
  const differences = wordsOf(bytes, bytes.length / WORD_BYTES);
  const pages = new Int32Array(numbers.length * words);
  const before = new Map<number, number>();
  let at = 0;
  for (const [index, number] of numbers.entries()) {
    const [begin, former] = [index * words, before.get(number)];
    if (former !== undefined) pages.copyWithin(begin, former, former + words);
    before.set(number, begin);
    for (let word = 0; word < words; ) {
      if (at >= differences.length) return undefined;
      const head = differences[at++]!;
      const count = head >>> 16;
      word += head & 0xffff;
      if (head === 0 || word + count > words || at + count > differences.length) return undefined;
      for (const end = at + count; at < end; ) pages[begin + word++]! ^= differences[at++]!;
    }
  }
  return at === differences.length ? bytesOf(pages, pages.length) : undefined;
}

function wordsOf(bytes: Buffer, words: number): Int32Array {
  const aligned = bytes.byteOffset % WORD_BYTES === 0 ? bytes : new Uint8Array(bytes);
  return new Int32Array(aligned.buffer, aligned.byteOffset, words);
}

function bytesOf(words: Int32Array, count: number): Buffer {
  return Buffer.from(words.buffer, words.byteOffset, count * WORD_BYTES);
}
