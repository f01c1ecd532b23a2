import { expect, it } from 'vitest';
import { isAnsweredFromMemory } from './schema-check.ts';

it.each([
  ['PRAGMA index_list(a)', true],
  ['\ufeff ; -- a comment\n/* and one more */ pragma main.index_list(a)', true],
  ['EXPLAIN QUERY PLAN SELECT 1', true],
  ['explain select 1', true],
  ['SELECT * FROM pragma_index_list(?)', false],
  ['SELECT * FROM pragma_integrity_check', true],
  ['SELECT * FROM Pragma_Quick_Check(?)', true],
  ['SELECT "PRAGMA"', false],
  ["'PRAGMA'", false],
  ['', false],
])('%j: %j', (sql, expected) => {
  expect(isAnsweredFromMemory(sql)).toBe(expected);
});
