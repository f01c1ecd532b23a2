import type { WireStepsOperation } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { areForeignKeysOff } from './foreign-keys-after.ts';

const OFF = 'PRAGMA foreign_keys=OFF';
const ON = 'PRAGMA foreign_keys=ON';
const OK = '{"r":[0,0],"ms":1}';
const SKIPPED = '0';
const failed = (statementIndex?: number) =>
  JSON.stringify({ e: { code: 'SQL_ERROR', message: 'm', details: { statementIndex } } });

it.each<[what: string, sql: string, step: object, done: string[], x: number, off: boolean]>([
  ['a statement', OFF, {}, [OK], 0, true],
  ['a statement that failed', OFF, {}, [failed()], 0, false],
  ['a statement that was skipped', OFF, {}, [SKIPPED], 0, false],
  ['a statement that is still to run', OFF, {}, [], 0, false],
  ['a script', `${OFF}; SELECT 1`, { x: 1 }, [OK], 0, true],
  ['a script that switches them on again', `${OFF}; ${ON}`, { x: 1 }, [OK], 0, false],
  ['a part of a script', `${OFF}; SELECT 1; ${ON}`, { x: 1 }, [], 2, true],
  ['a script that failed before it switched them on', `${OFF}; bad; ${ON}`, { x: 1 }, [failed(1)], 0, true],
  ['a script that failed before it switched them off', `bad; ${OFF}`, { x: 1 }, [failed(0)], 0, false],
  ['a script that was skipped', `${OFF}; SELECT 1`, { x: 1 }, [SKIPPED], 0, false],
  ['a script that was refused', OFF, { x: 1, e: { code: 'SQL_ERROR', message: 'm' } }, [failed()], 0, false],
  ['a script whose changes were undone', `${OFF}; DROP TABLE t`, { x: 1 }, [failed()], 0, true],
  [
    'a script that a refused statement ended',
    `${OFF}; /* foreign_keys */ VACUUM`,
    { x: 1 },
    [failed(1)],
    0,
    true,
  ],
])('after %s', (_, sql, step, q, x, off) => {
  const op = { q: [{ s: 0, ...step }, { s: 1 }], fk: 1 } as unknown as WireStepsOperation;
  expect(areForeignKeysOff([sql, 'INSERT INTO t VALUES (1)'], op, { q, x })).toBe(off);
});

it('after a script of very many statements', () => {
  const op = { q: [{ s: 0, x: 1 }], fk: 1 } as unknown as WireStepsOperation;
  expect(areForeignKeysOff([`${OFF};${'x;'.repeat(300_000)}`], op, { q: [OK], x: 0 })).toBe(true);
});

it('as they were before the steps', () => {
  const op = { q: [{ s: 0 }], fk: 0 } as unknown as WireStepsOperation;
  expect(areForeignKeysOff(['SELECT 1'], op)).toBe(true);
  expect(areForeignKeysOff([ON], op, { q: [OK], x: 0 })).toBe(false);
});
