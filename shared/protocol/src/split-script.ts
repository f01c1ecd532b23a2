import { SqlTokens } from './sql-tokens.ts';
import { StatementBoundary } from './statement-boundary.ts';
import { assertStatementText } from './statement-text.ts';

/**
 * Splits a script into its statements, in order, without the semicolons between them and without comments around
 * them. Semicolons in strings, names, comments and trigger bodies do not split. An unfinished last statement is
 * returned as it is, for SQLite to refuse.
 *
 * @returns the statements; none for a script of white space and comments.
 * @throws OnewriterError INVALID_ARGUMENT, INVALID_VALUE, STATEMENT_TOO_LARGE
 */
export function splitScript(sql: string): readonly string[] {
  return locateStatements(sql).map(statement => statement.sql);
}

/** A statement of a script, and where in it it begins. */
export interface LocatedStatement {
  readonly sql: string;
  readonly start: number;
}

/** The same as {@link splitScript}, with the places of the statements. */
export function locateStatements(sql: string): readonly LocatedStatement[] {
  assertStatementText(sql);
  const statements: LocatedStatement[] = [];
  const tokens = new SqlTokens(sql);
  const boundary = new StatementBoundary();
  let first = -1;
  let last = 0;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    if (boundary.accept(kind, kind === 'word' ? tokens.text.toUpperCase() : '')) {
      statements.push({ sql: sql.slice(first, last), start: first });
      first = -1;
    } else if (!boundary.atStart) {
      if (first < 0) first = tokens.start;
      last = tokens.end;
    }
  }
  if (first >= 0) statements.push({ sql: sql.slice(first, last), start: first });
  return statements;
}

/** Text of which only the beginning is whole statements. */
export interface PartialScript {
  /** Those that ended with a semicolon, in order, without it. */
  readonly statements: readonly LocatedStatement[];
  /** Text after the last of them. */
  readonly rest: string;
}

/** Removes the complete statements from a text that is still being typed. */
export function takeStatements(sql: string): PartialScript {
  const statements: LocatedStatement[] = [];
  const tokens = new SqlTokens(sql);
  const boundary = new StatementBoundary();
  let first = -1;
  let end = 0;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    if (boundary.accept(kind, kind === 'word' ? tokens.text.toUpperCase() : '')) {
      statements.push({ sql: sql.slice(first, tokens.start).trimEnd(), start: first });
      first = -1;
      end = tokens.end;
    } else if (boundary.atStart) end = tokens.end;
    else if (first < 0) first = tokens.start;
  }
  return { statements, rest: sql.slice(end) };
}
