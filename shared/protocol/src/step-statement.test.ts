import { describe, expect, it } from 'vitest';
import { classifyStep } from './step-statement.ts';
import { isMet, readCondition, type StepCondition } from './steps.ts';

describe('what a step is', () => {
  it.each([
    ['BEGIN', { kind: 'begin', mode: 'deferred', readOnly: false }],
    [
      ' ; /* x */ begin\n immediate transaction ;; -- end',
      { kind: 'begin', mode: 'immediate', readOnly: false },
    ],
    ['BEGIN EXCLUSIVE', { kind: 'begin', mode: 'exclusive', readOnly: false }],
    ['BEGIN TRANSACTION READONLY', { kind: 'begin', mode: 'deferred', readOnly: true }],
    ['BEGIN READONLY', { kind: 'begin', mode: 'deferred', readOnly: true }],
    ['BEGIN CONCURRENT', { kind: 'malformed' }],
    ['BEGIN IMMEDIATE DEFERRED', { kind: 'malformed' }],
    ['COMMIT', { kind: 'commit' }],
    ['end transaction;', { kind: 'commit' }],
    ['COMMIT NOW', { kind: 'malformed' }],
    ['ROLLBACK', { kind: 'rollback' }],
    ['ROLLBACK TRANSACTION', { kind: 'rollback' }],
    ['ROLLBACK TO a', { kind: 'rollback-to', name: 'a' }],
    ['ROLLBACK TRANSACTION TO SAVEPOINT "A""b"', { kind: 'rollback-to', name: 'a"b' }],
    ['ROLLBACK TO savepoint', { kind: 'rollback-to', name: 'savepoint' }],
    ['SAVEPOINT [x y]', { kind: 'savepoint', name: 'x y' }],
    ['SAVEPOINT', { kind: 'malformed' }],
    ["RELEASE SAVEPOINT 'It''s'", { kind: 'release', name: "it's" }],
    ['RELEASE savepoint', { kind: 'release', name: 'savepoint' }],
    ['PRAGMA foreign_keys=off', { kind: 'session', pragma: 'foreign_keys', usual: false }],
    ['PRAGMA foreign_keys = "ON"', { kind: 'session', pragma: 'foreign_keys', usual: true }],
    ['PRAGMA foreign_keys = maybe', { kind: 'session', pragma: 'foreign_keys', usual: false }],
    ['PRAGMA defer_foreign_keys(no)', { kind: 'session', pragma: 'defer_foreign_keys', usual: true }],
    ['pragma main.defer_foreign_keys (1);', { kind: 'session', pragma: 'defer_foreign_keys', usual: false }],
    ['PRAGMA foreign_keys', { kind: 'statement', statement: expect.objectContaining({ kind: 'read' }) }],
    ['SELECT 1', { kind: 'statement', statement: expect.objectContaining({ kind: 'read' }) }],
    ['EXPLAIN BEGIN', 'STATEMENT_NOT_ALLOWED'],
    ['COMMIT; DELETE FROM t', 'STATEMENT_NOT_ALLOWED'],
    ['PRAGMA foreign_keys=off; DELETE FROM t', 'STATEMENT_NOT_ALLOWED'],
    ['PRAGMA temp.foreign_keys=off', 'STATEMENT_NOT_ALLOWED'],
    ['PRAGMA writable_schema=1', 'STATEMENT_NOT_ALLOWED'],
    ["ATTACH 'x' AS y", 'STATEMENT_NOT_ALLOWED'],
    ['VACUUM', 'STATEMENT_NOT_ALLOWED'],
    ['-- nothing', 'INVALID_ARGUMENT'],
    ['BEGIN\0', 'INVALID_ARGUMENT'],
  ])('%j', (sql, expected) => {
    if (typeof expected === 'string') {
      expect(() => classifyStep(sql)).toThrow(expect.objectContaining({ code: expected }));
    } else expect(classifyStep(sql)).toEqual(expected);
  });
});

describe('conditions of steps', () => {
  const states = { isOk: (step: number) => step === 0, autocommit: false };

  it.each<[StepCondition, boolean]>([
    [{ type: 'ok', step: 0 }, true],
    [{ type: 'error', step: 0 }, false],
    [{ type: 'ok', step: 1 }, false],
    [{ type: 'error', step: 1 }, true],
    [{ type: 'is_autocommit' }, false],
    [{ type: 'not', cond: { type: 'is_autocommit' } }, true],
    [{ type: 'and', conds: [] }, true],
    [{ type: 'or', conds: [] }, false],
    [
      {
        type: 'and',
        conds: [
          { type: 'ok', step: 0 },
          { type: 'ok', step: 1 },
        ],
      },
      false,
    ],
    [
      {
        type: 'or',
        conds: [
          { type: 'ok', step: 0 },
          { type: 'ok', step: 1 },
        ],
      },
      true,
    ],
  ])('%j is met: %s', (condition, met) => {
    expect(isMet(readCondition(condition, 2), states)).toBe(met);
  });

  it('are refused where they cannot be read', () => {
    const deep = Array.from({ length: 20 }).reduce<StepCondition>(cond => ({ type: 'not', cond }), {
      type: 'is_autocommit',
    });
    const wide = { type: 'or', conds: Array.from({ length: 300 }, () => ({ type: 'is_autocommit' })) };
    for (const bad of [
      null,
      1,
      {},
      { type: 'x' },
      { type: 'ok' },
      { type: 'ok', step: 2 },
      { type: 'ok', step: -1 },
      { type: 'and' },
      { type: 'not' },
      deep,
      wide,
    ]) {
      expect(() => readCondition(bad, 2)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
  });
});
