import { expect, it } from 'vitest';
import { chooseSource } from './choose-source.ts';

it.each([
  ['rows.tsv', undefined, 'csv', false],
  ['rows.jsonl.gz', undefined, 'ndjson', true],
  ['dump.sql', undefined, 'sql', false],
  ['dump.SQL.gz', undefined, 'sql', true],
  ['tenant.db', undefined, 'sqlite', false],
  ['tenant.sqlite3.gz', undefined, 'sqlite', true],
  ['dump.txt', 'sql', 'sql', false],
  ['-', 'sql', 'sql', false],
])('takes %s with --format %s for %s', (name, given, format, isPacked) => {
  expect(chooseSource(name, given)).toMatchObject({ format, isPacked });
});

it.each([
  ['-', undefined],
  ['dump.gz', undefined],
  ['dump.sql', 'mysql'],
  ['dump.sql', 'toString'],
])('refuses %s with --format %s', (name, given) => {
  expect(() => chooseSource(name, given)).toThrowError(/--format is one of csv, ndjson, sql, sqlite/);
});
