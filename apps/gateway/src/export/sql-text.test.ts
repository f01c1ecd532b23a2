import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { quoteName, RawText, toCsvField, toSqlLiteral } from './sql-text.ts';

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
    'a\r\nb\rc',
    '\\r is no CR, \r is, \\r1',
    -1.7976931348623157e308,
    1e21,
    1e-20,
    9.999999999999999e-21,
    2.5e-310,
    -5e-324,
    0.30000000000000004,
    9.95,
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

describe('toSqlLiteral of a real', () => {
  it('is few digits where few are enough, and exact for all', () => {
    expect([0.1, 12.5, -9.95, 100].map(toSqlLiteral)).toEqual(['0.1', '12.5', '-9.95', '100.0']);
    const db = new Database(':memory:');
    const bits = new DataView(new ArrayBuffer(8));
    // A step through all exponents and many fractions.
    for (let high = 0n; high < 0x7ff0n; high += 7n) {
      bits.setBigUint64(0, (high << 48n) | ((high * 0x9e3779b97f4a7c15n) & 0xffffffffffffn));
      const value = bits.getFloat64(0);
      expect(
        db
          .prepare(`SELECT ${toSqlLiteral(value)}`)
          .pluck()
          .get(),
      ).toBe(value);
    }
    db.close();
  });
});

describe('toSqlLiteral of a text that is not UTF-8', () => {
  it('keeps its bytes', () => {
    const db = new Database(':memory:');
    const literal = toSqlLiteral(new RawText(Buffer.of(0x61, 0xff, 0)));
    expect(db.prepare(`SELECT typeof(${literal}), CAST(${literal} AS BLOB)`).raw().get()).toEqual([
      'text',
      Buffer.of(0x61, 0xff, 0),
    ]);
    db.close();
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
    [5, '5.0'],
    [-0, '-0.0'],
    [1e300, '1e+300'],
    [Number.NEGATIVE_INFINITY, '-9e999'],
    [Buffer.of(0, 255), 'AP8='],
    [Buffer.of(), '""'],
  ])('writes %s as %s', (value, field) => {
    expect(toCsvField(value)).toBe(field);
  });
});
