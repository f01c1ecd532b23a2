import { expect, test } from 'vitest';
import {
  MAX_NAMED_WRITERS,
  mergeSummaries,
  namesOfWriteKinds,
  type WriteSummary,
  writeKindBit,
  writerName,
} from './write-summary.ts';

test('names the kinds of statements', () => {
  const kinds = ['REPLACE', 'DELETE', 'ALTER'].reduce((bits, keyword) => bits | writeKindBit(keyword), 0);
  expect(namesOfWriteKinds(kinds)).toEqual(['INSERT', 'DELETE', 'DDL']);
  expect(namesOfWriteKinds(writeKindBit('REINDEX'))).toEqual(['OTHER']);
  expect(namesOfWriteKinds(0)).toEqual([]);
});

test('names the token where a job has one, and never at length', () => {
  expect(writerName('c-1', undefined)).toBe('c-1');
  expect(writerName('c-1', 'ab')).toBe('token ab');
  expect(writerName('x'.repeat(1_000), undefined)).toHaveLength(80);
});

test('merges summaries, and keeps those with the most writes', () => {
  const parts = Array.from(
    { length: 50 },
    (_, index): WriteSummary => ({ writes: index, kinds: 1 << (index % 3), by: [[`c-${index}`, index]] }),
  );
  const merged = mergeSummaries([undefined, ...parts, { writes: 2, kinds: 8, by: [['c-49', 2]] }])!;
  expect(merged.writes).toBe(50 * 24.5 + 2);
  expect(namesOfWriteKinds(merged.kinds)).toEqual(['INSERT', 'UPDATE', 'DELETE', 'DDL']);
  expect(merged.by).toEqual([
    ['c-49', 51],
    ['c-48', 48],
    ['c-47', 47],
    ['c-46', 46],
  ]);
  expect(merged.by).toHaveLength(MAX_NAMED_WRITERS);
});

test('has nothing of what has no summary', () => {
  expect(mergeSummaries([undefined, undefined])).toBeUndefined();
  const one = { writes: 1, kinds: 1, by: [] };
  expect(mergeSummaries([one, undefined])).toBe(one);
});
