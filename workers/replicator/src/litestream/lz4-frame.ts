import { OnewriterError } from '@onewriter/protocol';
import { Xxh32 } from './xxh32.ts';

/*
 * Expands LZ4 frames as they arrive, a block at a time: a snapshot may be larger than the memory. Packages that read frames want the
 * whole of it.
 * Sources: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md, lz4_Block_format.md.
 */

const MAGIC = 0x184d2204;
const VERSION = 1;
/** What a block may refer to of those before it, bytes. */
const WINDOW_BYTES = 64 * 1024;
const STORED_BLOCK = 0x80000000;

/** @throws OnewriterError REPLICA_REFUSED where it is no frame, or damaged or cut. */
export async function* expandFrame(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const input = new Input(source);
  if ((await input.u32()) !== MAGIC) throw damaged('is no LZ4 frame');
  const flags = (await input.take(2))[0]!;
  if (flags >> 6 !== VERSION) throw damaged('is an LZ4 frame of another version');
  const [linked, blockSums, sized, summed, dictionary] = [
    (flags & 0x20) === 0,
    (flags & 0x10) !== 0,
    (flags & 0x08) !== 0,
    (flags & 0x04) !== 0,
    (flags & 0x01) !== 0,
  ];
  if (dictionary) throw damaged('needs a dictionary');
  await input.take((sized ? 8 : 0) + 1);
  const sum = new Xxh32();
  let window: Buffer = Buffer.alloc(0);
  for (;;) {
    const size = await input.u32();
    if (size === 0) break;
    const block = await input.take(size & ~STORED_BLOCK);
    if (blockSums) await input.take(4);
    const plain = size >= STORED_BLOCK ? block : expandBlock(block, window);
    if (linked) window = Buffer.from(Buffer.concat([window, plain]).subarray(-WINDOW_BYTES));
    sum.update(plain);
    yield plain;
  }
  if (summed && (await input.u32()) !== sum.digest()) throw damaged('has another checksum');
}

/** Source: lz4_Block_format.md. @param before what was expanded before it */
function expandBlock(block: Buffer, before: Buffer): Buffer {
  let plain: Buffer = Buffer.allocUnsafe(Math.max(1_024, block.length * 4) + before.length);
  before.copy(plain);
  let end = before.length;
  const grow = (bytes: number) => {
    if (end + bytes <= plain.length) return;
    const larger = Buffer.allocUnsafe((end + bytes) * 2);
    plain.copy(larger, 0, 0, end);
    plain = larger;
  };
  let at = 0;
  const lengthOf = (nibble: number) => {
    let length = nibble;
    if (nibble === 15) {
      let byte: number;
      do {
        byte = block[at++] ?? Number.NaN;
        length += byte;
      } while (byte === 255);
    }
    if (!Number.isInteger(length)) throw damaged('is cut');
    return length;
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = lengthOf(token >> 4);
    if (at + literals > block.length) throw damaged('is cut');
    grow(literals);
    block.copy(plain, end, at, at + literals);
    at += literals;
    end += literals;
    // The last sequence has literals only.
    if (at === block.length) break;
    if (at + 2 > block.length) throw damaged('is cut');
    const offset = block.readUInt16LE(at);
    at += 2;
    const length = lengthOf(token & 15) + 4;
    if (offset === 0 || offset > end) throw damaged('refers to what is not there');
    grow(length);
    // It may overlap with what it writes.
    if (offset >= length) plain.copy(plain, end, end - offset, end - offset + length);
    else for (let index = 0; index < length; index++) plain[end + index] = plain[end + index - offset]!;
    end += length;
  }
  return plain.subarray(before.length, end);
}

/** Bytes out of pieces of any size. */
class Input {
  readonly #source: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async take(bytes: number): Promise<Buffer> {
    const pieces = [this.#rest];
    let length = this.#rest.length;
    while (length < bytes) {
      const next = await this.#source.next();
      if (next.done) throw damaged('is cut');
      pieces.push(next.value);
      length += next.value.length;
    }
    const all = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    this.#rest = all.subarray(bytes);
    return all.subarray(0, bytes);
  }

  async u32(): Promise<number> {
    return (await this.take(4)).readUInt32LE(0);
  }
}

function damaged(what: string): OnewriterError {
  return new OnewriterError('REPLICA_REFUSED', `A file of the Litestream replica ${what}.`, {
    reason: 'damaged replica',
  });
}
