import { isOnewriterError } from '@onewriter/protocol';
import type { TenantReads } from '../../reads/tenant-reads.ts';
import { findNames, findQuotedNames, foldSqlName, type KnownNames } from './double-quotes.ts';

/** Columns of all tables and views, those that are hidden, too. */
const COLUMNS = `
  SELECT DISTINCT c.name FROM pragma_table_list AS l, pragma_table_xinfo(l.name) AS c
  WHERE l.schema = 'main' AND c.name COLLATE NOCASE IN (SELECT value FROM json_each(?))`;
const BODIES = `
  SELECT value FROM json_each(?)
  WHERE EXISTS (SELECT 1 FROM sqlite_schema WHERE type IN ('view', 'trigger') AND instr(lower(sql), '"' || replace(value, '"', '""') || '"'))`;
/** All may be one. */
const UNKNOWN: KnownNames = { isColumn: () => true, isInBody: () => true };

/**
 * Looks up the names that a statement has in double quotes.
 * @param before the statements before it in its transaction, which may make tables
 * @throws OnewriterError as TenantReads.read()
 */
export async function readKnownNames(
  reads: Pick<TenantReads, 'read'>,
  tenant: string,
  sql: string,
  before: readonly string[],
  wait: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<KnownNames> {
  const params = [JSON.stringify(findQuotedNames(sql))];
  const schema = before.filter(text => /\b(?:CREATE|ALTER)\b/i.test(text));
  const made = new Set(schema.flatMap(findNames));
  try {
    const statements = [
      { sql: COLUMNS, params },
      { sql: BODIES, params },
    ];
    const { results } = await reads.read({ tenant, statements, ...wait });
    const [columns, bodies] = results.map(
      ({ rows }) => new Set(rows.map(([name]) => foldSqlName(String(name)))),
    );
    return {
      isColumn: name => made.has(name) || columns!.has(name),
      isInBody: name => made.has(name) || bodies!.has(name),
    };
  } catch (error) {
    // A view that SQLite cannot compile: its columns are not known.
    if (isOnewriterError(error, 'SQL_ERROR')) return UNKNOWN;
    throw error;
  }
}
