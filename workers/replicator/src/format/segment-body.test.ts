import { randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeBody, encodeBody, type SegmentHeader } from './segment-body.ts';

const commitAt = (frames: number, pos: number) => ({
  pos,
  commitSeq: pos * 2,
  atMs: 1_000 + pos,
  epoch: 3,
  pages: 9,
  frames,
});

const bodies = fc.record({
  pageSize: fc.constantFrom(512, 4_096, 65_536),
  numbers: fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 40 }),
  deflates: fc.boolean(),
});

it('gives the pages back as they were, those that come again too', async () => {
  await fc.assert(
    fc.asyncProperty(bodies, async ({ pageSize, numbers, deflates }) => {
      const pages = numbers.map(number => ({ number, bytes: randomBytes(pageSize) }));
      const header: SegmentHeader = {
        v: 1,
        tenant: 'acme',
        pageSize,
        commits: numbers.map((_, index) => commitAt(index + 1, index + 7)),
      };
      const body = await decodeBody(await encodeBody(header, pages, () => deflates));
      expect(body.header).toEqual(header);
      expect([...body.numbers]).toEqual(numbers);
      expect(body.pages.equals(Buffer.concat(pages.map(({ bytes }) => bytes)))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

it('reads bodies of former versions: pages as they are, and deflated ones that are mixed with those before', async () => {
  const [one, two] = [randomBytes(512), randomBytes(512)];
  const header: SegmentHeader = { v: 1, tenant: 'acme', pageSize: 512, commits: [commitAt(2, 1)] };
  const text = Buffer.from(JSON.stringify(header).padEnd(252));
  const head = Buffer.alloc(4 + 252 + 8);
  head.writeUInt32LE(252, 0);
  text.copy(head, 4);
  for (const at of [256, 260]) head.writeUInt32LE(9, at);
  const mixed = two.map((byte, at) => byte ^ one[at]!);
  const bodies = [
    Buffer.concat([Buffer.of(0), head, one, two]),
    Buffer.concat([Buffer.of(1), deflateRawSync(Buffer.concat([head, one, mixed]))]),
  ];
  for (const body of bodies) {
    const { numbers, pages } = await decodeBody(body);
    expect([...numbers]).toEqual([9, 9]);
    expect(pages.equals(Buffer.concat([one, two]))).toBe(true);
  }
});

it('takes little room for pages that hardly change', async () => {
  const bytes = randomBytes(4_096);
  const pages = Array.from({ length: 100 }, (_, index) => {
    const page = Buffer.from(bytes);
    page.writeUInt32LE(index, 100);
    return { number: 2, bytes: page };
  });
  const header: SegmentHeader = { v: 1, tenant: 'acme', pageSize: 4_096, commits: [commitAt(100, 1)] };
  expect((await encodeBody(header, pages)).length).toBeLessThan(3 * 4_096);
});

it.each([
  ['nothing', Buffer.of()],
  ['another codec', Buffer.of(7, 1, 2, 3)],
  ['noise', Buffer.of(1, 2, 3, 4, 5, 6)],
  ['a header that is too long', Buffer.of(0, 255, 255, 0, 0)],
])('refuses %s', async (_, body) => {
  await expect(decodeBody(body)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});

it('refuses a body that was cut', async () => {
  const header: SegmentHeader = { v: 1, tenant: 'acme', pageSize: 512, commits: [commitAt(1, 1)] };
  const whole = await encodeBody(header, [{ number: 1, bytes: randomBytes(512) }], () => false);
  await expect(decodeBody(whole.subarray(0, -8))).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});
