import { describe, expect, it } from 'vitest';
import { describeStatement } from './describe-statement.ts';

describe('describeStatement', () => {
  it.each([
    [
      "INSERT INTO  t\n\tVALUES (1, -2.5e3, 'secret', x'ff', ?, :name, NULL);",
      'INSERT INTO t VALUES (?, -?, ?, ?, ?, :name, NULL)',
    ],
    ['-- secret\n/* secret */ SELECT/**/1', 'SELECT ?'],
    ["SELECT 'it''s; secret", 'SELECT ?'],
    ['SELECT "a\n\u2028b" FROM [t\u0000x]', 'SELECT "a b" FROM [t x]'],
    ['  ;; ', ''],
  ])('%j is %j', (sql, expected) => {
    expect(describeStatement(sql)).toBe(expected);
  });

  it('cuts to the length asked for, not through a surrogate pair', () => {
    expect(describeStatement('SELECT abcdefgh', 10)).toBe('SELECT ab…');
    expect(describeStatement('SELECT abc', 10)).toBe('SELECT abc');
    expect(describeStatement(`SELECT ${'😀'.repeat(50)}`, 11)).toBe('SELECT 😀…');
    expect(describeStatement(`SELECT ${'x'.repeat(1_000_000)}`)).toHaveLength(80);
  });
});
