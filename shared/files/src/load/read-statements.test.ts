import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { readStatements } from './read-statements.ts';

function fileOf(content: string | Buffer): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-dump-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'dump.sql');
  writeFileSync(path, content);
  return path;
}

const read = (content: string | Buffer, max?: number) =>
  [...readStatements(fileOf(content), max)].map(({ sql, line }) => [line, sql]);

it('finds statements and their lines', () => {
  const trigger = 'CREATE TRIGGER tr AFTER INSERT ON t BEGIN\n  SELECT 1;\n  SELECT 2;\nEND';
  const dump = `\ufeff-- made by hand\n\nCREATE TABLE t(a);INSERT INTO t VALUES('a;\nb');\n${trigger};\n\nSELECT 1 -- no semicolon`;
  expect(read(dump)).toEqual([
    [3, 'CREATE TABLE t(a)'],
    [3, "INSERT INTO t VALUES('a;\nb')"],
    [5, trigger],
    [10, 'SELECT 1 -- no semicolon'],
  ]);
  expect(read('\n-- nothing\n')).toEqual([]);
});

it('reads across the boundaries of its chunks', () => {
  // Characters of three bytes, so that a chunk ends within one; rows of no common length; one longer than several chunks.
  const rows = Array.from(
    { length: 9_000 },
    (_, index) => `INSERT INTO t VALUES('${'€'.repeat(index % 97)}')`,
  );
  rows[4_000] = `INSERT INTO t VALUES('${';€'.repeat(1_000_000)}')`;
  const found = read(`${rows.join(';\n')};\n`);
  expect(found.length).toBe(rows.length);
  expect(found.every(([line, sql], index) => line === index + 1 && sql === rows[index])).toBe(true);
});

it('names the line of what it cannot read', () => {
  expect(() => read(Buffer.from("SELECT 1;\nSELECT 'gr\xfc\xdfe';", 'latin1'))).toThrowError(/line 1/);
  const long = `SELECT 1;\nSELECT '${'x'.repeat(3_000_000)}';`;
  expect(() => read(long, 1_000_000)).toThrowError(/^Line 2: a statement is longer than 1000000 bytes/);
});
