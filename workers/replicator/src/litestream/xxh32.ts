const P1 = 0x9e3779b1;
const P2 = 0x85ebca77;
const P3 = 0xc2b2ae3d;
const P4 = 0x27d4eb2f;
const P5 = 0x165667b1;
const STRIPE = 16;

/**
 * The checksum of LZ4 frames, over bytes that come in pieces.
 * Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, XXH32 with seed 0.
 */
export class Xxh32 {
  readonly #lanes = Int32Array.of(P1 + P2, P2, 0, -P1);
  #rest: Buffer = Buffer.alloc(0);
  #length = 0;

  update(bytes: Buffer): this {
    this.#length += bytes.length;
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const lanes = this.#lanes;
    let at = 0;
    for (; at + STRIPE <= all.length; at += STRIPE)
      for (let lane = 0; lane < 4; lane++) lanes[lane] = round(lanes[lane]!, all.readInt32LE(at + 4 * lane));
    this.#rest = Buffer.from(all.subarray(at));
    return this;
  }

  /** An unsigned number of 32 bits. */
  digest(): number {
    const [a, b, c, d] = this.#lanes as unknown as [number, number, number, number];
    let hash = this.#length >= STRIPE ? (turn(a, 1) + turn(b, 7) + turn(c, 12) + turn(d, 18)) | 0 : P5 | 0;
    hash = (hash + this.#length) | 0;
    const rest = this.#rest;
    let at = 0;
    for (; at + 4 <= rest.length; at += 4)
      hash = Math.imul(turn((hash + Math.imul(rest.readInt32LE(at), P3)) | 0, 17), P4);
    for (; at < rest.length; at++) hash = Math.imul(turn((hash + Math.imul(rest[at]!, P5)) | 0, 11), P1);
    hash = Math.imul(hash ^ (hash >>> 15), P2);
    hash = Math.imul(hash ^ (hash >>> 13), P3);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

function round(lane: number, word: number): number {
  return Math.imul(turn((lane + Math.imul(word, P2)) | 0, 13), P1);
}

function turn(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
