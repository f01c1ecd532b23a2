import { expect, it } from 'vitest';
import { isAnsweredFromMemory, mayOutliveSchema } from './schema-check.ts';

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

it.each([
  ['SELECT 1', true],
  ['VALUES (1)', true],
  ['PRAGMA user_version', true],
  ['BEGIN', true],
  ['SELECT * FROM sqlite_schema', true],
  ['SELECT * FROM "sqlite_master"', true],
  ['SELECT * FROM t, main.[sqlite_schema]', true],
  ["SELECT name FROM pragma_table_info('t')", true],
  ["SELECT * FROM t, json_each('[]')", true],
  ['WITH c AS (SELECT 1 AS a) SELECT a FROM c', true],
  ['SELECT * FROM (SELECT 1)', true],
  ['SELECT "FROM" -- FROM t', true],
  ['SELECT a FROM t WHERE id = ?', false],
  ['select a from "t"', false],
  ['SELECT * FROM (SELECT a FROM t)', false],
  ['EXPLAIN SELECT a FROM t', false],
])('%j can be answered without the schema: %j', (sql, expected) => {
  expect(mayOutliveSchema(sql)).toBe(expected);
});
