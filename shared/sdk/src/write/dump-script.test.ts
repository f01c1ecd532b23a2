import { splitScript } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { isDump } from './dump-script.ts';

it.each([
  ['PRAGMA foreign_keys=OFF; BEGIN TRANSACTION; CREATE TABLE t(a); COMMIT;', true],
  ['-- by a shell\npragma foreign_keys = 0; begin; SELECT 1; END', true],
  ['BEGIN; CREATE TABLE t(a); COMMIT', false],
  ['PRAGMA foreign_keys=OFF; BEGIN; CREATE TABLE t(a); ROLLBACK;', false],
  ['PRAGMA foreign_keys=OFF; BEGIN; CREATE TABLE t(a)', false],
  ['PRAGMA foreign_keys; BEGIN; COMMIT', false],
  ['', false],
])('isDump(%j) is %s', (script, expected) => {
  expect(isDump(splitScript(script))).toBe(expected);
});
