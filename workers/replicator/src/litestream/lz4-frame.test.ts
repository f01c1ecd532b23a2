import { expect, it } from 'vitest';
import { type Block, lz4Frame } from '../../test-support/lz4-stored.ts';
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

const frameOf = (plain: string, ...blocks: readonly Block[]) => lz4Frame(Buffer.from(plain), blocks);

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
