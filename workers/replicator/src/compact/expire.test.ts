import { expect, test } from 'vitest';
import { CompactWorld, DAY_MS, endingStore } from '../../test-support/compact-world.ts';
import { HEAD_KEY, readHead } from '../chain/head.ts';
import { readState } from '../chain/replica-state.ts';
import { packKey } from '../format/entry.ts';
import type { PackedSegment } from '../format/pack.ts';
import type { CompactHead } from './compact-head.ts';
import { compactOnce } from './compact-once.ts';

const HOUR_MS = 3_600_000;
const RETENTION_MS = 30 * DAY_MS;

/** Blocks of level 3, made of packs of level 2 that are put there as if they had been compacted. */
class Blocks {
  readonly world = new CompactWorld();
  count = 0;

  /** @param segments in the first pack of the block */
  async add(...segments: readonly PackedSegment[]): Promise<void> {
    const { world } = this;
    this.count++;
    for (let child = 0; child < 8; child++) {
      const number = (this.count - 1) * 8 + child + 1;
      await world.put({ level: 2, number }, child === 0 ? segments : []);
    }
    const { head } = await readHead(world.store);
    const last = this.count * 4_096;
    world.next = last + 1;
    const next = { ...head, compacted: { ...head.compacted, 1: last, 2: last } };
    await world.store.put(HEAD_KEY, Buffer.from(JSON.stringify(next)));
    await world.compact();
  }

  async head(): Promise<CompactHead> {
    return (await readHead(this.world.store)).head;
  }

  has(level: 2 | 3): readonly number[] {
    return Array.from({ length: this.count * (level === 2 ? 8 : 1) }, (_, index) => index + 1).filter(
      number => this.world.store.objects.has(packKey({ level, number })),
    );
  }

  snapshots(): readonly string[] {
    return [...this.world.store.objects.keys()].filter(key => key.startsWith('snapshots/'));
  }
}

test('keeps a pack of level 3 for the chains in it, takes them over, and deletes it when nothing needs it', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  await blocks.add(await world.full('idle'), await world.full('large', true), await world.full('busy', true));
  world.nowMs += DAY_MS;
  await blocks.add(await world.pages('busy', [{ size: 1, writes: [[1, 5]] }]));
  world.nowMs += 20 * DAY_MS;
  await blocks.add(await world.full('busy', true));
  world.nowMs += 20 * DAY_MS;
  // The first two blocks are older than the retention: named no longer, and an hour later deleted; but both tenants' states then are
  // in the first block.
  expect((await world.compact(world.store, RETENTION_MS)).needsFull).toEqual([]);
  expect((await blocks.head()).kept[3]).toBe(2 * 4_096 + 1);
  expect(blocks.has(3)).toEqual([1, 2, 3]);
  world.nowMs += HOUR_MS;
  await world.compact();
  expect(blocks.has(3)).toEqual([1, 2, 3]);
  expect((await blocks.head()).pinned).toEqual([1, 2]);
  expect(blocks.has(2)).toEqual([]);
  expect(blocks.snapshots()).toHaveLength(6);

  // A new block takes over the idle tenants.
  await blocks.add(await world.pages('busy', [{ size: 1, writes: [[1, 6]] }]));
  expect(await world.contents()).toEqual(world.expected());
  for (let step = 0; step < 4; step++) {
    world.nowMs += 16 * DAY_MS;
    await blocks.add();
    await world.compact();
    world.nowMs += HOUR_MS;
    await world.compact();
    expect(await world.contents()).toEqual(world.expected());
  }
  // Of the first block's full segments two are in a later block, and one was replaced.
  expect(blocks.has(3)).not.toContain(1);
  expect(blocks.has(3)).not.toContain(2);
  expect(blocks.snapshots()).toHaveLength(4);
  expect((await blocks.head()).catalogs[0]!.to).toBeGreaterThan(4_096);
});

test('deletes in the middle of anything, and again', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  await blocks.add(await world.full('acme', true), await world.full('beta'));
  world.nowMs += DAY_MS;
  await blocks.add(await world.full('acme', true), await world.full('beta'));
  world.nowMs += 40 * DAY_MS;
  await world.compact();
  world.nowMs += HOUR_MS;
  for (let calls = 0; ; calls++) {
    const ended = await world.compact(endingStore(world.store, calls, calls % 2 === 0)).then(
      () => undefined,
      (error: Error) => error.message,
    );
    expect(await world.contents()).toEqual(world.expected());
    if (ended === undefined) break;
    expect(ended).toBe('killed');
  }
  expect(blocks.has(3)).toEqual([2]);
  expect(blocks.snapshots()).toHaveLength(2);
  expect((await blocks.head()).dropping).toBeUndefined();
});

test('deletes parts that a block has made useless with its packs of level 2', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  const first = await world.full('acme', true);
  const second = await world.full('acme', true);
  await blocks.add(first, second);
  expect(blocks.snapshots()).toHaveLength(4);
  world.nowMs += 8 * DAY_MS;
  await world.compact();
  expect(blocks.snapshots()).toHaveLength(4);
  world.nowMs += HOUR_MS;
  await world.compact();
  expect(blocks.has(2)).toEqual([]);
  expect(blocks.snapshots()).toEqual([0, 1].map(part => `${second.entry.parts!.prefix}/000${part}.snap`));
});

test('lets nothing expire while a branch stands on what its parent was', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  await blocks.add(await world.full('acme'));
  const { entry } = await world.full('branch');
  const base = { ...entry, kind: 'base', base: { tenant: 'acme', pos: 1 } } as const;
  await blocks.add({ entry: base });
  world.nowMs += 40 * DAY_MS;
  expect(await world.compact()).toMatchObject({ needsFull: ['branch'], isExpiryHeld: true });
  expect((await blocks.head()).kept[3]).toBe(1);
  // Its parent's end changes nothing.
  await world.ship([world.deleted('acme')]);
  await world.compact();
  expect((await blocks.head()).kept[3]).toBe(1);
  await world.ship([await world.full('branch')]);
  expect(await world.compact()).toMatchObject({ isExpiryHeld: false });
  expect((await blocks.head()).kept[3]).toBe(2 * 4_096 + 1);
});

test('forgets a deleted tenant when its history has expired, and not before', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  const isKnown = async () => (await readState(world.store)).tenants.has('gone');
  await blocks.add(await world.full('gone'), await world.full('alive'));
  world.nowMs += DAY_MS;
  await blocks.add(world.deleted('gone'));
  // As long as it can be gone back to.
  for (let step = 0; step < 3; step++) {
    world.nowMs += 10 * DAY_MS;
    expect(await isKnown()).toBe(true);
    await blocks.add();
    await world.compact(world.store, RETENTION_MS);
  }
  for (let step = 0; step < 3 && (await isKnown()); step++) {
    world.nowMs += 20 * DAY_MS;
    await world.compact(world.store, RETENTION_MS);
    world.nowMs += HOUR_MS;
    await blocks.add();
  }
  expect(await isKnown()).toBe(false);
  expect((await readState(world.store)).tenants.get('alive')).toMatchObject({ pos: 1, isAlive: true });
});

test('lets nothing expire because of a clock that is far ahead, and makes up for a real absence', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  const run = (elapsedMs: number) =>
    compactOnce({
      ...{ store: world.store, keys: world.keys, term: world.term, retentionMs: RETENTION_MS },
      ...{ nowMs: world.nowMs, elapsedMs },
    });
  for (let block = 0; block < 3; block++) {
    world.nowMs += DAY_MS;
    await blocks.add(await world.full('acme', true));
  }
  // For some runs the clock is a year ahead.
  world.nowMs += 365 * DAY_MS;
  for (let step = 0; step < 20; step++) await run(HOUR_MS);
  expect((await blocks.head()).kept[3]).toBe(1);
  expect(blocks.has(3)).toEqual([1, 2, 3]);
  // The time was real: an absence is made up for, more slowly than it lasted.
  for (let step = 0; step < 40; step++) await run(DAY_MS);
  expect((await blocks.head()).kept[3]).toBeGreaterThan(1);
});

test('keeps what was dropped for an hour, also while an absence is made up for', async () => {
  const blocks = new Blocks();
  const { world } = blocks;
  for (let block = 0; block < 2; block++) {
    await blocks.add(await world.full('acme', true));
    world.nowMs += DAY_MS;
  }
  world.nowMs += 9 * DAY_MS;
  await world.compact();
  expect((await blocks.head()).dropping).toBeDefined();
  const before = blocks.has(2);
  world.nowMs += 2 * DAY_MS;
  const run = (elapsedMs: number) =>
    compactOnce({
      ...{ store: world.store, keys: world.keys, term: world.term, retentionMs: RETENTION_MS },
      ...{ nowMs: world.nowMs, elapsedMs },
    });
  for (let round = 0; round < 12; round++) {
    for (let pack = 0; pack < 32; pack++) await world.ship([]);
    expect((await run(20_000)).packs).toContainEqual(expect.objectContaining({ level: 1 }));
  }
  expect(blocks.has(2)).toEqual(before);
  await run(HOUR_MS);
  expect(blocks.has(2)).not.toEqual(before);
});
