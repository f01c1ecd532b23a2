import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { hashContent } from './content-hash.ts';

function hashOf(...statements: readonly string[]): string {
  const db = new Database(':memory:');
  try {
    for (const sql of statements) db.exec(sql);
    return hashContent(db);
  } finally {
    db.close();
  }
}

const row = (text: string) => hashOf('CREATE TABLE t(a, b)', `INSERT INTO t VALUES (${text}, 1)`);

it('differs for texts that differ in bytes which are no UTF-8', () => {
  expect(row("CAST(x'41ff' AS TEXT)")).toBe(row("CAST(x'41ff' AS TEXT)"));
  const others = ["CAST(x'41ff' AS TEXT)", "CAST(x'41fe' AS TEXT)", "'A\ufffd'", "x'41ff'", "'A'"].map(row);
  expect(new Set(others).size).toBe(others.length);
});

it('differs for lone surrogates of UTF-16', () => {
  const utf16 = (bytes: string) =>
    hashOf(
      "PRAGMA encoding = 'UTF-16le'",
      'CREATE TABLE t(a)',
      `INSERT INTO t VALUES (CAST(x'${bytes}' AS TEXT))`,
    );
  expect(utf16('00d8')).not.toBe(utf16('01d8'));
});

it('differs for schemas that differ in such bytes', () => {
  const view = (byte: number) => {
    const db = new Database(':memory:');
    try {
      db.exec("CREATE VIEW v AS SELECT 'a?' AS b");
      db.unsafeMode(true);
      db.pragma('writable_schema = 1');
      db.prepare("UPDATE sqlite_schema SET sql = CAST(replace(CAST(sql AS BLOB), x'3f', ?) AS TEXT)").run(
        Buffer.from([byte]),
      );
      return hashContent(db);
    } finally {
      db.close();
    }
  };
  expect(view(0xff)).not.toBe(view(0xfe));
});
