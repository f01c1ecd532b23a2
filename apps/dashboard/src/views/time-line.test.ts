import type { HistoryPoint } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { toText } from './html.ts';
import { isAfterGap, pointTable, timeLine } from './time-line.ts';

const NOW = Date.UTC(2026, 10, 30, 12);

function point(fromPos: number, toPos: number, more: Partial<HistoryPoint> = {}): HistoryPoint {
  return {
    ...{ fromPos, toPos, fromSeq: fromPos + 100, toSeq: toPos + 100, bytes: 1_000, each: true },
    ...{ fromMs: NOW - 60_000, toMs: NOW - 60_000 + toPos * 1_000, kind: 'pages', ...more },
  };
}

const POINTS = [
  point(9, 9, {
    ...{ bytes: 4_000, each: false },
    written: { writes: 5, kinds: ['INSERT', 'DELETE'], by: [{ who: '<c-1>', writes: 3 }] },
  }),
  point(4, 5, { each: false }),
  point(1, 3, { kind: 'full' }),
];

/** What the browser gets. */
function shown(): readonly { readonly at: number; readonly text: string }[] {
  const [, json] = /data-points="([^"]*)"/.exec(toText(timeLine(POINTS, NOW)))!;
  return JSON.parse(json!.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>'));
}

/** The text of one point. */
function shownFor(written: HistoryPoint['written']): string {
  return toText(timeLine([point(1, 1, { written })], NOW));
}

it('has a bar and a place on the slider for each point, the oldest first', () => {
  const text = toText(timeLine(POINTS, NOW));
  expect(text).toMatch(/class="bars" d="(?:M[^M]*){3}"/);
  expect(text).toContain('min="0" max="2"');
  expect(shown().map(({ at }) => at)).toEqual([103, 105, 109]);
  expect(text).toMatch(/<p id="point-text">2026-11-30 11:59:09 UTC/);
  expect(toText(timeLine([POINTS[0]!], NOW))).toContain('max="0"');
});

it('says of each point when it was, what can be gone back to, and who wrote', () => {
  const [full, pages, newest] = shown().map(({ text }) => text);
  expect(shownFor({ writes: 3, kinds: ['UPDATE'], by: [{ who: 'c-2', writes: 3 }] })).toContain(
    '3 writes: UPDATE by c-2<',
  );
  expect(full).toBe('2026-11-30 11:59:03 UTC · commit 101 to 103 · whole file, 1000 B');
  expect(pages).toContain('commit 104 to 105 (only the last can be gone back to)');
  expect(newest).toContain('5 writes: INSERT, DELETE by <c-1> (3), others (2)');
  expect(toText(pointTable(POINTS))).toContain('&lt;c-1&gt; (3)');
});

it('shows where commits are missing', () => {
  expect(isAfterGap(POINTS[1], POINTS[0]!)).toBe(true);
  expect(isAfterGap(POINTS[2], POINTS[1]!)).toBe(false);
  expect(isAfterGap(undefined, POINTS[1]!)).toBe(false);
  // A tenant that was deleted begins again, and a branch has the numbers of its parent.
  for (const kind of ['deleted', 'base'] as const)
    expect(isAfterGap(point(3, 3, { kind }), point(9, 9))).toBe(false);
  // A file that is read whole after a gap has the next position.
  expect(isAfterGap(POINTS[2], point(4, 4, { kind: 'full', fromSeq: 150, toSeq: 150 }))).toBe(true);
  const text = toText(timeLine(POINTS, NOW));
  expect(text).toContain('1 gap');
  expect(text).toContain('commits right before it are not in the replica');
  expect(toText(timeLine(POINTS.slice(1), NOW))).not.toContain('gap');
  expect(toText(pointTable(POINTS))).toContain('commits, after a gap');
});
