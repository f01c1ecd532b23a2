import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { quoteName, toCsvField, toSqlLiteral } from './sql-text.ts';

describe('toSqlLiteral', () => {
  it.each([
    null,
    0n,
    -1n,
    9007199254740993n,
    9223372036854775807n,
    -9223372036854775808n,
    1,
    0.1,
    -0,
    1e300,
    5e-324,
    123456789012345680000,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    '',
    "it's",
    'a\0b',
    'line\n"quoted" ü🧵',
    Buffer.of(0, 255),
    Buffer.alloc(0),
  ])('is read back as the same value of the same type: %s', value => {
    const db = new Database(':memory:');
    const statement = db.prepare(`SELECT ${toSqlLiteral(value)} AS x, typeof(${toSqlLiteral(value)}) AS t`);
    const { x, t } = statement.safeIntegers(true).get() as { x: unknown; t: string };
    db.close();
    if (typeof value === 'number') expect(t).toBe('real');
    expect(Object.is(x, value) || (Buffer.isBuffer(value) && value.equals(x as Buffer)), String(x)).toBe(
      true,
    );
  });
});

describe('quoteName', () => {
  it('makes any text a name', () => {
    const db = new Database(':memory:');
    for (const name of ['a', 'select', 'with "quotes"', "it's", 'a]b`c', ' ', 'ü; DROP TABLE x']) {
      db.exec(`CREATE TABLE ${quoteName(name)}(x)`);
      expect(db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name)).toBeDefined();
    }
    db.close();
  });
});

describe('toCsvField', () => {
  it.each([
    [null, ''],
    ['', '""'],
    ['a', 'a'],
    ['a,b', '"a,b"'],
    ['say "x"', '"say ""x"""'],
    ['a\nb', '"a\nb"'],
    [' a', '" a"'],
    [9007199254740993n, '9007199254740993'],
    [1.5, '1.5'],
    [Buffer.of(0, 255), 'AP8='],
  ])('writes %s as %s', (value, field) => {
    expect(toCsvField(value)).toBe(field);
  });
});
