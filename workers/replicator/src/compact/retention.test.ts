import fc from 'fast-check';
import { expect, test } from 'vitest';
import { catalogKey } from '../chain/catalog.ts';
import { FIRST_HEAD } from '../chain/head.ts';
import type { CompactHead } from './compact-head.ts';
import { dropExpired, GRACE_MS, passGrace, steadyNow } from './retention.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** A head with a catalogue of each time. */
function headOf(...times: readonly number[]): CompactHead {
  const catalogs = times.map((atMs, index) => {
    const to = (index + 1) * 4_096;
    return { to, atMs, key: catalogKey(to) };
  });
  const last = times.length * 4_096;
  return { ...FIRST_HEAD, catalogs, compacted: { 1: last, 2: last, 3: last } };
}
const blocks = (count: number) => count * 4_096 + 1;

test('keeps each level as long as it is meant to be', () => {
  const now = 100 * DAY;
  const head = headOf(
    now - 40 * DAY,
    now - 31 * DAY,
    now - 8 * DAY,
    now - 4 * DAY,
    now - 2 * DAY,
    now - HOUR,
  );
  const dropped = dropExpired(head, 30 * DAY, now)!;
  expect(dropped.kept).toEqual({ 0: blocks(5), 1: blocks(4), 2: blocks(3), 3: blocks(2) });
  // The newest that is older than the retention is where the first chains begin.
  expect(dropped.catalogs.map(({ to }) => to / 4_096)).toEqual([2, 3, 4, 5, 6]);
  expect(dropped.dropping).toEqual({ leftMs: GRACE_MS, from: FIRST_HEAD.kept, catalogs: [head.catalogs[0]] });
});

test('keeps all where there is no catalogue, or none is old enough', () => {
  expect(dropExpired(headOf(), DAY, 100 * DAY)).toBeUndefined();
  expect(dropExpired(headOf(DAY), 30 * DAY, 1.5 * DAY)).toBeUndefined();
});

test('does not keep a level longer than all of it', () => {
  const dropped = dropExpired(headOf(DAY, 3 * DAY), 2 * HOUR, 3 * DAY + HOUR)!;
  expect(dropped.kept).toEqual({ 0: blocks(1), 1: blocks(1), 2: blocks(1), 3: blocks(1) });
});

test('deletes an hour after nothing names it, and drops nothing else until then', () => {
  const now = 100 * DAY;
  const dropped = dropExpired(headOf(now - 40 * DAY, now - 31 * DAY), 30 * DAY, now)!;
  expect(passGrace(dropped, GRACE_MS - 1)?.leftMs).toBe(1);
  expect(passGrace(dropped, GRACE_MS)?.leftMs).toBe(0);
  // Two blocks more are old enough by then.
  const later = headOf(now - 40 * DAY, now - 31 * DAY, now - 30 * DAY, now - 29 * DAY);
  const { dropping } = dropped;
  expect(dropExpired({ ...later, dropping }, 30 * DAY, now + 10 * DAY)).toBeUndefined();
  expect(dropExpired(later, 30 * DAY, now + 10 * DAY)).toBeDefined();
  expect(passGrace(headOf(DAY), DAY)).toBeUndefined();
});

test('forgets nothing too early where the clock was wrong for a time', () => {
  const now = 100 * DAY;
  const [first, second] = [now - 3 * DAY, now - 2 * DAY];
  // In 1970, or in a far future: what was made then may be as new as what follows it.
  for (const wrong of [1, 1_000 * DAY]) {
    const later = headOf(first, second, wrong, now - HOUR);
    for (const head of [headOf(first, second, wrong), later])
      expect(dropExpired(head, 30 * DAY, now)).toMatchObject({ kept: { 0: blocks(2), 3: 1 } });
    expect(dropExpired(later, 30 * DAY, now + 40 * DAY)).toMatchObject({ kept: { 3: blocks(4) } });
  }
});

test('makes up for an absence at a quarter of the time that passes, however often it runs', () => {
  const start = 100 * DAY;
  // The clock is a day ahead, and a run follows each 32 packs.
  let seenMs = start;
  for (let run = 0; run < 180; run++) seenMs = steadyNow({ ...headOf(), seenMs }, start + DAY, 20_000);
  expect(seenMs).toBe(start + 1.25 * HOUR);
  expect(steadyNow({ ...headOf(), seenMs }, seenMs + 1, HOUR)).toBe(seenMs + 1);
  // A leader that begins has counted nothing yet.
  expect(steadyNow({ ...headOf(), seenMs }, start + DAY, 0)).toBe(seenMs + 5 * 60_000);
  expect(steadyNow(headOf(), start, 0)).toBe(start);
});

test('counts the grace, whatever a clock says', () => {
  const now = 100 * DAY;
  let head = dropExpired(headOf(now - 40 * DAY, now - 31 * DAY), 30 * DAY, now)!;
  for (let run = 0; run < 179; run++) head = { ...head, dropping: passGrace(head, 20_000) };
  expect(head.dropping?.leftMs).toBe(20_000);
  // As a build wrote it that noted a time.
  const { leftMs: _, ...former } = head.dropping!;
  expect(passGrace({ ...head, dropping: former as typeof head.dropping }, HOUR / 2)?.leftMs).toBe(HOUR / 2);
});

test('always keeps a catalogue at or before each time that can be gone back to, and never takes anything back', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 20 * DAY }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: HOUR, max: 40 * DAY }),
      fc.array(fc.integer({ min: 0, max: 10 * DAY }), { maxLength: 8 }),
      (gaps, retentionMs, steps) => {
        let at = 0;
        let head = headOf(
          ...gaps.map(gap => {
            at += gap;
            return at;
          }),
        );
        const [first] = head.catalogs;
        let now = at;
        for (const step of steps) {
          now += step;
          const next = dropExpired(head, retentionMs, now);
          if (next === undefined) continue;
          for (const level of [0, 1, 2, 3] as const) {
            expect(next.kept[level]).toBeGreaterThanOrEqual(head.kept[level]);
            expect(next.kept[level]).toBeLessThanOrEqual(next.catalogs.at(-1)!.to + 1);
          }
          const [oldest] = next.catalogs;
          expect(oldest!.atMs <= now - retentionMs || oldest!.to === first!.to).toBe(true);
          head = { ...next, dropping: undefined };
        }
      },
    ),
  );
});
