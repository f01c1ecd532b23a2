import { Xxh32 } from '../src/litestream/xxh32.ts';

export type Block = readonly [isStored: boolean, bytes: Buffer];

const MAX_BLOCK_BYTES = 4 * 1024 * 1024;

/** A frame of independent blocks, with a checksum at the end. @param plain what they are, expanded */
export function lz4Frame(plain: Uint8Array, blocks: readonly Block[]): Buffer {
  return Buffer.concat([
    Buffer.from('04224d186470b9', 'hex'),
    ...blocks.flatMap(([isStored, bytes]) => [
      u32((bytes.length | (isStored ? 0x80000000 : 0)) >>> 0),
      bytes,
    ]),
    u32(0),
    u32(new Xxh32().update(Buffer.from(plain)).digest()),
  ]);
}

/** A frame that holds bytes as they are. */
export function lz4Stored(plain: Buffer): Buffer {
  const blocks: Block[] = [];
  for (let at = 0; at < plain.length; at += MAX_BLOCK_BYTES)
    blocks.push([true, plain.subarray(at, at + MAX_BLOCK_BYTES)]);
  return lz4Frame(plain, blocks);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
