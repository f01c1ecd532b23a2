import { describe, expect, it } from 'vitest';
import { parseCsvField, storageClass, toSourceValue, toStoredValue } from './column-value.ts';
import { ContentHash } from './content-hash.ts';
import { readSource } from './read-source.ts';
import { type ColumnDefinition, TABLES } from './table-definition.ts';

const integer: ColumnDefinition = { name: 'n', type: 'integer' };
const real: ColumnDefinition = { name: 'n', type: 'real' };
const any: ColumnDefinition = { name: 'n', type: 'any' };
const usDate: ColumnDefinition = { name: 'n', type: 'date', sourceForm: 'month-day-year' };

describe('a CSV field', () => {
  it('is null where it is empty, a number only where its column is one', () => {
    expect(parseCsvField('', { name: 'n', type: 'text' })).toBe(null);
    expect(parseCsvField('00501', { name: 'n', type: 'text' })).toBe('00501');
    expect(parseCsvField('-12.50', real)).toBe(-12.5);
    for (const text of ['12 ', 'NA', '0x10', '1_000', '--1', '.']) {
      expect(() => parseCsvField(text, real)).toThrow(/n is a number/);
    }
  });
});

describe('a stored value', () => {
  it('is the date in ISO form, and comes back as the source wrote it', () => {
    expect(toStoredValue('Jun 12 1998', usDate)).toBe('1998-06-12');
    expect(toSourceValue('1998-06-12', usDate)).toBe('Jun 12 1998');
    for (const wrong of ['Feb 30 1998', 'Foo 12 1998', '12 Jun 1998', '1998-06-12']) {
      expect(() => toStoredValue(wrong, usDate)).toThrow(/date/);
    }
    expect(() => toStoredValue('1998-02-30', { name: 'n', type: 'date' })).toThrow(/date/);
  });

  it('keeps the type of each value where a column has several', () => {
    expect(toStoredValue(1776, any)).toBe(1776n);
    expect(toStoredValue('1776', any)).toBe('1776');
    expect([1, 1.5, '1', null].map(value => storageClass(value, any))).toEqual([
      'integer',
      'real',
      'text',
      'null',
    ]);
    expect(storageClass(1, real)).toBe('real');
    expect(storageClass(1, integer)).toBe('integer');
  });
});

describe('ContentHash', () => {
  const digest = (...rows: (null | number | string)[][]) => {
    const hash = new ContentHash();
    for (const row of rows) hash.add(row);
    return hash.digest();
  };

  it('distinguishes types, lengths, rows and their order', () => {
    const contents = [
      [[null]],
      [['']],
      [[0]],
      [['0']],
      [['n']],
      [['a', 'b']],
      [['ab', '']],
      [['a'], ['b']],
      [['b'], ['a']],
      [[]],
      [],
    ];
    expect(new Set(contents.map(rows => digest(...rows))).size).toBe(contents.length);
    expect(digest(['ä', 1.5, null])).toBe(digest(['ä', 1.5, null]));
  });
});

describe('the source', () => {
  it.each(TABLES.map(table => [table.name, table] as const))(
    '%s is as defined, and every value survives the way there and back',
    async (_, table) => {
      const rows = await readSource(table);
      expect(rows.length).toBeGreaterThan(1_000);
      const before = new ContentHash();
      const after = new ContentHash();
      for (const row of rows) {
        before.add(row);
        after.add(
          table.columns.map((column, index) => {
            const stored = toStoredValue(row[index]!, column);
            return toSourceValue(typeof stored === 'bigint' ? Number(stored) : stored, column);
          }),
        );
      }
      expect(after.digest()).toBe(before.digest());
    },
  );
});
