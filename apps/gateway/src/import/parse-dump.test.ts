import { expect, it } from 'vitest';
import { parseDumpStatements } from './parse-dump.ts';
import type { ParsedRow } from './parse-rows.ts';

async function parse(text: string): Promise<[number, string][]> {
  // Not at the boundaries of statements.
  const parts = text.match(text.length < 10_000 ? /[\s\S]{1,7}/g : /[\s\S]{1,9999}/g) ?? [];
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
  const bounds = { maxLineBytes: 1_000, idleTimeoutMs: 1_000 };
  const rows: ParsedRow[] = [];
  for await (const piece of parseDumpStatements({ body, bounds, nextTurn: async () => {} }))
    rows.push(...piece);
  return rows.map(row => [row.line, 'row' in row ? row.row.sql : row.error.message]);
}

it('takes the statements of a dump without its frame', async () => {
  const dump = `PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE t(a);
INSERT INTO t VALUES('a;
b'); /* a comment */ INSERT INTO t VALUES('');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('t',2);
PRAGMA user_version=3;
CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM t; END;
COMMIT;
`;
  expect(await parse(dump)).toEqual([
    [3, 'CREATE TABLE t(a)'],
    [4, "INSERT INTO t VALUES('a;\nb')"],
    [5, "INSERT INTO t VALUES('')"],
    // The numbers of other tables stay as they are.
    [7, expect.stringMatching(/^UPDATE sqlite_sequence SET seq = max/)],
    [7, expect.stringMatching(/^INSERT INTO sqlite_sequence.*NOT EXISTS/s)],
    [8, 'PRAGMA user_version=3'],
    [9, 'CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM t; END'],
  ]);
});

it.each([
  ['CREATE TABLE t(a);\nDROP TABLE t;', /^Line 2: A statement that changes/],
  ['DELETE FROM sqlite_sequence WHERE name IN (SELECT 1);', /^Line 1: A statement that changes/],
  ['BEGIN;\nCREATE TABLE t(a);', /cut off.*line 1/],
  ["ATTACH 'x' AS x;", /^Line 1: ATTACH/],
  [`\nINSERT INTO t VALUES('${'x'.repeat(1_100_000)}');`, /^Line [12]: .*over 1048576 bytes/],
])('refuses %.40s, with the line', async (dump, message) => {
  await expect(parse(dump)).rejects.toThrowError(message);
});
