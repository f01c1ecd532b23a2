import { describe, expect, it } from 'vitest';
import { kindOfOperation, matchOperation, type OperationCases, sqlOfWrite } from './operation-kind.ts';
import type { WireOperation } from './write-job.ts';

const MARK = { k: 'i', f: 'f', at: 0, h: '', max: 1 };

const OPERATIONS: readonly (readonly [string, WireOperation])[] = [
  ['statement', { s: 1 }],
  ['transaction', { t: [{ s: 1 }, { s: 2 }] }],
  ['script', { x: 1 }],
  ['steps', { q: [{ s: 1 }, { s: 2 }] }],
  ['rows', { w: [0, [1, 'a']], m: MARK }],
];

const NAMES: OperationCases<string, string> = {
  statement: (op, by) => `statement ${op.s} ${by}`,
  transaction: (op, by) => `transaction ${op.t.length} ${by}`,
  script: (op, by) => `script ${op.x} ${by}`,
  steps: (op, by) => `steps ${op.q.length} ${by}`,
  rows: (op, by) => `rows ${op.w.length} ${by}`,
};

describe('the kind of a write', () => {
  it.each(OPERATIONS)('is %s', (kind, op) => {
    expect(kindOfOperation(op)).toBe(kind);
    expect(matchOperation(op, NAMES, 'here')).toMatch(new RegExp(`^${kind} [12] here$`));
  });

  it.each([undefined, null, 7, 'x'])('is none of %j', op => {
    expect(kindOfOperation(op)).toBeUndefined();
    expect(() => matchOperation(op as unknown as WireOperation, NAMES, '')).toThrow('A write is an object.');
  });
});

describe('the SQL text of a write', () => {
  const sql = ['zero', 'one', 'two'];

  it.each(OPERATIONS)('of %s is the first, or that of one statement', (kind, op) => {
    expect(sqlOfWrite({ sql, ops: [op] }, 0)).toBe('one');
    const second = kind === 'transaction' || kind === 'steps' ? 'two' : 'one';
    expect(sqlOfWrite({ sql, ops: [op] }, 0, 1)).toBe(second);
  });

  it.each([
    ...[null, 7, {}, { s: 9 }, { s: 'x' }, { t: null }, { t: [] }, { t: [null] }, { q: {} }, { w: 1 }],
    ...[{ w: [] }, { x: -1 }],
  ])('of %j is empty', op => {
    expect(sqlOfWrite({ sql, ops: [op as unknown as WireOperation] }, 0)).toBe('');
  });

  it('is empty where there is no such write, or its text is none', () => {
    expect(sqlOfWrite({ sql, ops: [] }, 0)).toBe('');
    expect(sqlOfWrite({ sql: [7 as unknown as string], ops: [{ s: 0 }] }, 0)).toBe('');
  });
});
