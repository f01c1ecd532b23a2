import { expect, test } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import type { SegmentEntry, SegmentPlace } from '../format/entry.ts';
import { chunksOf, groupsOf, type MergeGroup } from './merge-groups.ts';

const place = (fields: Partial<SegmentEntry> & Pick<SegmentEntry, 'kind' | 'min' | 'max'>): SegmentPlace => ({
  pack: { level: 0, number: 1 },
  entry: testEntry({ plainBytes: 10, length: 4, ...fields }),
});
const shapeOf = (groups: readonly MergeGroup[]) =>
  groups.map(group => group.map(({ entry }) => `${entry.kind} ${entry.min}`));

test('puts neighbours together, up to a bound of bytes', () => {
  const pages = [2, 3, 4, 5, 6].map(pos => place({ kind: 'pages', min: pos, max: pos }));
  expect(shapeOf(groupsOf([place({ kind: 'full', min: 1, max: 1 }), ...pages], 30))).toEqual([
    ['full 1', 'pages 2', 'pages 3'],
    ['pages 4', 'pages 5', 'pages 6'],
  ]);
  expect(shapeOf(groupsOf([place({ kind: 'pages', min: 1, max: 1, plainBytes: 99 }), ...pages], 30))).toEqual(
    [['pages 1'], ['pages 2', 'pages 3', 'pages 4'], ['pages 5', 'pages 6']],
  );
});

test('leaves what is in parts, a branch and another page size alone', () => {
  const parts = { prefix: 'snapshots/acme/1', count: 1, bytes: 9 } as never;
  const places = [
    place({ kind: 'full', min: 1, max: 1, parts }),
    place({ kind: 'pages', min: 2, max: 2 }),
    place({ kind: 'pages', min: 3, max: 3, pageSize: 8_192 }),
  ];
  expect(shapeOf(groupsOf(places, 1_000))).toEqual([['full 1'], ['pages 2'], ['pages 3']]);
  const base = place({ kind: 'base', min: 1, max: 1 });
  expect(shapeOf(groupsOf([base, places[1]!], 1_000))).toEqual([['base 1'], ['pages 2']]);
});

test('reads groups together up to a bound of bytes, and one that is larger alone', () => {
  const groups = [4, 4, 99, 4].map(
    (length, index): MergeGroup => [place({ kind: 'pages', min: index, max: index, length })],
  );
  expect(chunksOf(groups, 10).map(shapeOf)).toEqual([
    [['pages 0'], ['pages 1']],
    [['pages 2']],
    [['pages 3']],
  ]);
  expect(chunksOf([], 10)).toEqual([]);
});
