import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { findSqliteVersion, isOldSqlite } from './sqlite-version.ts';

const SOURCE_ID = `2022-12-28 14:03:47 ${'d'.repeat(64)}`;

it.each([
  ['3.40.1', true],
  ['3.51.2', true],
  ['3.51.3', false],
  ['3.53.2', false],
  ['3.100.0', false],
])('%s is old: %s', (version, isOld) => {
  expect(isOldSqlite(version)).toBe(isOld);
});

it('finds the version of the SQLite in this process', () => {
  const add = join(
    dirname(createRequire(import.meta.url).resolve('better-sqlite3/package.json')),
    'build/Release/better_sqlite3.node',
  );
  const db = new Database(':memory:');
  try {
    expect(findSqliteVersion(add)).toBe(db.prepare('SELECT sqlite_version()').pluck().get());
  } finally {
    db.close();
  }
});

it.each([
  ['a library', `GLIBCXX_3.4.20\0\x013.40.1\0${SOURCE_ID}`, '3.40.1'],
  ['a library with another version beside it', `3.40.1\0 13.2.1\0\x003.1.1\0${SOURCE_ID}`, undefined],
  ['what has a version and is no SQLite', '3.11.2\0', undefined],
  ['across the end of a chunk', `${'\0'.repeat(4 * 1024 * 1024 - 3)}3.40.1\0${SOURCE_ID}`, '3.40.1'],
])('of %s', (_, content, version) => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-version-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'library.so');
  writeFileSync(path, content, 'latin1');
  expect(findSqliteVersion(path)).toBe(version);
});
