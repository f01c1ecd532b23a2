import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import type { TenantReads } from '../../reads/tenant-reads.ts';
import { readKnownNames } from './known-names.ts';

/** Reads of a file with this schema. */
function readsOf(schema: string): Pick<TenantReads, 'read'> {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  db.exec(schema);
  const read = async ({ statements }: { statements: readonly { sql: string; params?: unknown }[] }) => ({
    results: statements.map(({ sql, params }) => ({ rows: db.prepare(sql).raw(true).all(params) })),
  });
  return { read } as unknown as Pick<TenantReads, 'read'>;
}

it('finds names in the bodies of views and triggers, also with quotes in them', async () => {
  const reads = readsOf(`CREATE TABLE t(a, "b ""c");
    CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = "Say ""hi"""; END;
    CREATE VIEW v AS SELECT a AS "plain" FROM t`);
  const sql = 'SELECT "say ""hi""", "plain", "b ""c" FROM t';
  const wait = { timeoutMs: 1_000, signal: new AbortController().signal };
  const { isInBody, isColumn } = await readKnownNames(reads, 'acme', sql, [], wait);
  expect(['say "hi"', 'plain', 'b "c'].map(isInBody)).toEqual([true, true, false]);
  expect(['say "hi"', 'b "c'].map(isColumn)).toEqual([false, true]);
});
