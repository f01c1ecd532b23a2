import { closeSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';

/** The page with this byte holds locks and no data: it is in no segment. */
const LOCK_BYTE = 2 ** 30;

export function lockPageOf(pageSize: number): number {
  return LOCK_BYTE / pageSize + 1;
}

/** A database file that is put together page by page. Later pages take the place of earlier ones. */
export class PageFile {
  readonly #file: number;
  readonly #pageSize: number;
  readonly #lockPage: number;
  /** One bit for each page that is there. */
  #present = new Uint8Array(1_024);
  #pages = 0;

  /**
   * @param path must not exist
   * @param lockPage another for tests, which write no gigabyte
   */
  constructor(path: string, pageSize: number, lockPage = lockPageOf(pageSize)) {
    this.#file = openSync(path, 'wx', 0o600);
    this.#pageSize = pageSize;
    this.#lockPage = lockPage;
  }

  /** In pages. */
  get size(): number {
    return this.#pages;
  }

  /** Size after the commit whose pages follow: those beyond it are gone, and have to come again where it grows later. */
  setSize(pages: number): void {
    for (let number = pages + 1; number <= this.#pages; number++) this.#clear(number);
    this.#pages = pages;
  }

  /**
   * @param numbers of the pages in `bytes`, in that order; the last of several with a number holds
   */
  write(numbers: Uint32Array, bytes: Buffer): void {
    const size = this.#pageSize;
    const last = lastOfEach(numbers);
    for (let from = 0; from < numbers.length; ) {
      const first = numbers[from]!;
      let to = from + 1;
      if (last === undefined || last.get(first) === from) {
        while (numbers[to] === first + to - from && (last === undefined || last.get(numbers[to]!) === to))
          to++;
        writeAll(this.#file, bytes.subarray(from * size, to * size), (first - 1) * size);
        for (let number = first; number < first + to - from; number++) this.#mark(number);
      }
      from = to;
    }
  }

  /** Gives the file its size, and makes it durable. @throws OnewriterError REPLICA_REFUSED where a page never came. */
  finish(tenant: string): void {
    for (let number = 1; number <= this.#pages; number++) {
      if (this.#has(number) || number === this.#lockPage) continue;
      const message = `Page ${number} of ${this.#pages} of tenant ${tenant} is in no segment of the replica. Restore another point.`;
      throw new OnewriterError('REPLICA_REFUSED', message, { tenant, reason: 'missing page' });
    }
    ftruncateSync(this.#file, this.#pages * this.#pageSize);
    fsyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }

  #has(number: number): boolean {
    return ((this.#present[number >> 3] ?? 0) & (1 << (number & 7))) !== 0;
  }

  #mark(number: number): void {
    const at = number >> 3;
    if (at >= this.#present.length) {
      const larger = new Uint8Array(Math.max(2 * this.#present.length, at + 1));
      larger.set(this.#present);
      this.#present = larger;
    }
    this.#present[at]! |= 1 << (number & 7);
  }

  #clear(number: number): void {
    if (this.#has(number)) this.#present[number >> 3]! &= ~(1 << (number & 7));
  }
}

/** Place of the last of each number; undefined where they ascend, so that each comes once. */
function lastOfEach(numbers: Uint32Array): ReadonlyMap<number, number> | undefined {
  if (numbers.every((number, index) => index === 0 || numbers[index - 1]! < number)) return undefined;
  return new Map(Array.from(numbers, (number, index) => [number, index]));
}

function writeAll(file: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(file, bytes, done, bytes.length - done, position + done);
}
