import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { assertWithoutLog, chooseSource } from './choose-source.ts';

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

it.each(['-wal', '-journal'])('refuses a database whose newest commits may lie in its %s', suffix => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-source-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const source = chooseSource(join(folder, 'app.db'), undefined);
  assertWithoutLog(source);
  writeFileSync(`${source.path}${suffix}`, '');
  assertWithoutLog(source);
  writeFileSync(`${source.path}${suffix}`, 'x');
  expect(() => assertWithoutLog(source)).toThrowError(/not loaded\..* \.dump/);
});
