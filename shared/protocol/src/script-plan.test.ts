import { describe, expect, it } from 'vitest';
import { planScript } from './script-plan.ts';
import { splitScript } from './split-script.ts';

const plan = (script: string) => {
  const found = planScript(splitScript(script));
  return found === undefined ? undefined : [found.foreignKeys, ...found.frame];
};

describe('the plan of a script', () => {
  it.each([
    ['INSERT INTO t VALUES (1); SELECT 1', undefined],
    ["INSERT INTO t VALUES ('begin'); CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END", undefined],
    ['PRAGMA foreign_keys=ON; DELETE FROM t', undefined],
    ['BEGIN; DELETE FROM t; COMMIT', ['on', 0, 2]],
    ['begin immediate; DELETE FROM t; end; DELETE FROM u; BEGIN; COMMIT', ['on', 0, 2, 4, 5]],
    ['BEGIN; SAVEPOINT a; SAVEPOINT b; DELETE FROM t; RELEASE a; COMMIT', ['on', 0, 1, 2, 4, 5]],
    ['SAVEPOINT "A"; DELETE FROM t; RELEASE SAVEPOINT a', ['on', 0, 2]],
    ['BEGIN; SAVEPOINT a; DELETE FROM t; COMMIT', ['on', 0, 1, 3]],
    ['PRAGMA foreign_keys=OFF; BEGIN; DELETE FROM t; COMMIT; PRAGMA foreign_keys=ON', ['off', 1, 3, 0, 4]],
    ['PRAGMA defer_foreign_keys=ON; PRAGMA foreign_keys=OFF; DELETE FROM t', ['off', 0, 1]],
    ['PRAGMA defer_foreign_keys=ON; DELETE FROM t', ['deferred', 0]],
  ])('%s', (script, expected) => {
    expect(plan(script)).toEqual(expected);
  });

  it.each([
    'BEGIN; DELETE FROM t',
    'DELETE FROM t; COMMIT',
    'BEGIN; BEGIN; DELETE FROM t; COMMIT',
    'BEGIN; DELETE FROM t; COMMIT; BEGIN',
    'BEGIN; DELETE FROM t; ROLLBACK',
    'BEGIN; SAVEPOINT a; DELETE FROM t; ROLLBACK TO a; RELEASE a; COMMIT',
    'SAVEPOINT a; DELETE FROM t; RELEASE b',
    'BEGIN CONCURRENT; DELETE FROM t; COMMIT',
  ])('leaves every statement where leaving one out would change what it does: %s', script => {
    expect(plan(script)).toBeUndefined();
    expect(plan(`PRAGMA foreign_keys=OFF; ${script}`)).toEqual(['off', 0]);
  });

  it('refuses PRAGMAs that nothing follows', () => {
    expect(() => plan('PRAGMA foreign_keys=OFF; BEGIN; COMMIT')).toThrow(/foreign_keys.*no effect alone/);
    expect(() => plan('PRAGMA defer_foreign_keys=ON')).toThrow(/defer_foreign_keys.*no effect alone/);
  });
});
