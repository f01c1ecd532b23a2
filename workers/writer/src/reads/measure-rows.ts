import { SqlTokens } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import type { CompiledStatement } from '../batch/statement-cache.ts';

/*
 * How large the rows of a read are, without the rows. A row is loaded whole before its size shows, and a value may have a gigabyte. Of a
 * column that a row has as it is stored, SQLite knows the length without its pages; what an expression makes is made to be measured.
 */

/** Statements whose rows come from tables. */
const SELECTS: ReadonlySet<string> = new Set(['SELECT', 'WITH']);

/**
 * Compiles a statement whose rows are the sizes of another's, one column for each of its own; NULL has none.
 * @returns undefined where the other has no rows of tables, or is no part of a larger statement
 */
export function compileMeasure(
  db: Database,
  { sql, keyword, explain, statement }: CompiledStatement,
): Statement<unknown[], (number | null)[]> | undefined {
  if (explain || !SELECTS.has(keyword)) return undefined;
  const columns = statement.columns();
  // Each is made by an expression: it would be made twice.
  if (columns.every(({ column }) => column === null)) return undefined;
  const names = columns.map((_, index) => `c${index}`);
  const sizes = names.map(name => `octet_length(${name})`);
  return db
    .prepare<unknown[], (number | null)[]>(
      `WITH measured(${names.join()}) AS (${withoutSemicolons(sql)}\n) SELECT ${sizes.join()} FROM measured`,
    )
    .raw(true);
}

function withoutSemicolons(sql: string): string {
  const tokens = new SqlTokens(sql);
  let begun: number | undefined;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    if (kind !== 'semicolon') begun ??= tokens.start;
    else if (begun !== undefined) return sql.slice(begun, tokens.start);
  }
  return sql.slice(begun ?? 0);
}
