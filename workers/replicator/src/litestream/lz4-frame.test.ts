import { expect, it } from 'vitest';
import { expandFrame } from './lz4-frame.ts';
import { Xxh32 } from './xxh32.ts';

it.each([
  ['', 0x02cc5d05],
  ['a', 0x550d7456],
  ['abc', 0x32d153ff],
  ['Nobody inspects the spammish repetition', 0xe2293b2f],
])('has the checksum of %j', (text, sum) => {
  expect(new Xxh32().update(Buffer.from(text)).digest()).toBe(sum);
  const pieces = new Xxh32();
  for (const byte of Buffer.from(text)) pieces.update(Buffer.of(byte));
  expect(pieces.digest()).toBe(sum);
});

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
/** Independent blocks, with a checksum at the end. */
const frameOf = (plain: string, ...blocks: readonly [stored: boolean, bytes: Buffer][]) =>
  Buffer.concat([
    Buffer.from('04224d186470b9', 'hex'),
    ...blocks.flatMap(([stored, bytes]) => [u32((bytes.length | (stored ? 0x80000000 : 0)) >>> 0), bytes]),
    u32(0),
    u32(new Xxh32().update(Buffer.from(plain)).digest()),
  ]);

async function expand(frame: Buffer, pieceBytes = frame.length): Promise<string> {
  const pieces = (async function* () {
    for (let at = 0; at < frame.length; at += pieceBytes) yield frame.subarray(at, at + pieceBytes);
  })();
  const plain: Buffer[] = [];
  for await (const piece of expandFrame(pieces)) plain.push(piece);
  return Buffer.concat(plain).toString();
}

// Two literals, then 20 bytes from 2 before, which overlap; then one literal more.
const REPEATED = Buffer.from([0x2f, 0x61, 0x62, 0x02, 0x00, 0x01, 0x10, 0x63]);
const PLAIN = `stored${'ab'.repeat(11)}c`;
const FRAME = frameOf(PLAIN, [true, Buffer.from('stored')], [false, REPEATED]);

it('expands stored and compressed blocks, in pieces of any size', async () => {
  expect(await expand(FRAME)).toBe(PLAIN);
  expect(await expand(FRAME, 1)).toBe(PLAIN);
});

it.each([
  ['is cut', FRAME.subarray(0, -1)],
  ['is cut in a block', frameOf('', [false, REPEATED.subarray(0, 4)])],
  ['has another checksum', frameOf('other', [true, Buffer.from('stored')])],
  ['is no frame', Buffer.from('SQLite format 3')],
  ['refers to what is not there', frameOf('', [false, Buffer.from([0x10, 0x61, 0x09, 0x00, 0x00])])],
])('refuses what %s', async (_, frame) => {
  await expect(expand(frame)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});
