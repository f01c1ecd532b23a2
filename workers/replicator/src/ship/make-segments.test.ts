import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { at, framesOf, NO_LOG, PAGE_SIZE, piece } from '../../test-support/log-world.ts';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { Keyring } from '../format/keyring.ts';
import { decodeBody } from '../format/segment-body.ts';
import { DeflateBudget, isWorthDeflating } from './deflate-budget.ts';
import { makeSegments } from './make-segments.ts';
import type { PackItem } from './pack-item.ts';
import { toFirstItem, toPagesItem } from './piece-items.ts';

const store = new MemoryStore();
const keys = new Keyring({ masterKeys: [], keys: 'one', store });
const making = (bytesPerSecond?: number) => ({
  keys,
  budget: new DeflateBudget(0, bytesPerSecond),
  nowMs: () => 0,
});

function pieceOf(from: number, to: number, ids: readonly number[]) {
  return piece({ before: at('s', from), from: at('s', from), frames: framesOf('s', from, to), ids });
}

test('puts pieces that follow on each other into one segment', async () => {
  const [one, two] = [pieceOf(3, 5, [4, 5]), pieceOf(5, 6, [6])];
  const items = [toPagesItem(one, 1, one.commits.slice(1), 7), toPagesItem(two, 0, two.commits, 8)];
  const {
    segments: [segment, ...others],
  } = await makeSegments([{ tenant: 'acme', items }], making());
  expect(others).toEqual([]);
  expect(segment!.entry).toMatchObject({
    kind: 'pages',
    min: 8,
    max: 9,
    commits: 2,
    end: at('s', 6),
    plainBytes: 2 * PAGE_SIZE,
  });
  const { header, pages } = await decodeBody(segment!.body!);
  expect(header.commits.map(({ pos, frames }) => [pos, frames])).toEqual([
    [8, 1],
    [9, 2],
  ]);
  expect([pages.readUInt32BE(0), pages.readUInt32BE(PAGE_SIZE)]).toEqual([5, 6]);
});

test('says in the index who wrote, and not in the body', async () => {
  const summary = (who: string) => ({ writes: 1, kinds: 1, by: [[who, 1]] as const });
  const [one, two] = [pieceOf(3, 4, [4]), pieceOf(4, 5, [5])];
  const commits = (piece: typeof one, who: string) =>
    piece.commits.map(commit => ({ ...commit, writes: summary(who) }));
  const items = [
    toPagesItem(one, 0, commits(one, 'c-1'), 7),
    toPagesItem(two, 0, commits(two, 'c-2'), 8),
    toFirstItem(two, commits(two, 'c-3'), 9, { sinceMs: undefined, roomBytes: 0 }),
  ];
  const {
    segments: [pages, full],
  } = await makeSegments([{ tenant: 'acme', items }], making());
  expect(pages!.entry.writes).toMatchObject({ writes: 2 });
  expect(pages!.entry.writes!.by.map(([who]) => who)).toEqual(['c-1', 'c-2']);
  expect(full!.entry.writes).toEqual(summary('c-3'));
  for (const { body } of [pages!, full!])
    expect(JSON.stringify((await decodeBody(body!)).header)).not.toContain('writes');
});

test('makes a full segment of the newest pages', async () => {
  const whole = piece({ before: NO_LOG, from: at('s', 0), frames: framesOf('s', 0, 3), ids: [1, 2, 3] });
  const item = toFirstItem(whole, whole.commits, 3, { sinceMs: undefined, roomBytes: 0 });
  const {
    segments: [segment],
  } = await makeSegments([{ tenant: 'acme', items: [item] }], making());
  expect(segment!.entry).toMatchObject({ kind: 'full', min: 3, max: 3, pages: 1, end: at('s', 3) });
  const { numbers, pages } = await decodeBody(segment!.body!);
  expect([[...numbers], pages.readUInt32BE(0)]).toEqual([[1], 3]);
});

test('keeps the order of a tenant, and that of tenants', async () => {
  const next = pieceOf(3, 4, [4]);
  const items: PackItem[] = [toPagesItem(next, 0, next.commits, 7)];
  const tenants = Array.from({ length: 20 }, (_, index) => ({ tenant: `t${index}`, items }));
  const { segments } = await makeSegments(tenants, making());
  expect(segments.map(({ entry }) => entry.tenant)).toEqual(tenants.map(({ tenant }) => tenant));
});

test('stores differences as they are beyond what may be deflated in a second', async () => {
  const next = pieceOf(3, 5, [4, 5]);
  const items = [toPagesItem(next, 0, next.commits, 7)];
  const tenants = [1, 2].map(index => ({ tenant: `t${index}`, items }));
  const {
    segments: [one, two],
  } = await makeSegments(tenants, making(1));
  expect([one!.body![0], two!.body![0]]).toEqual([3, 2]);
});

test('the budget comes back with time', () => {
  const budget = new DeflateBudget(0, 1_000);
  expect([budget.take(900, 0), budget.take(200, 0), budget.take(200, 150)]).toEqual([true, false, true]);
  expect([budget.take(5_000, 151), budget.take(5_000, 1_400)]).toEqual([false, true]);
});

test('what deflate hardly makes shorter is stored as it is, where it is large', () => {
  const large = 100_000;
  expect(isWorthDeflating(Buffer.alloc(large))).toBe(true);
  expect(isWorthDeflating(randomBytes(large))).toBe(false);
  expect(isWorthDeflating(randomBytes(1_000))).toBe(true);
});
