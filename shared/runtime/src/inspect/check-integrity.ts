import { sqliteMessage } from '@onewriter/protocol';
import { type InspectedDatabase, isStatementError, quoteName, sqliteCodeOf } from './inspected-database.ts';

/** What a full look at a file finds. */
export interface IntegrityReport {
  /** Empty: what could be checked is sound. */
  readonly problems: readonly string[];
  readonly violations: readonly KeyViolations[];
  /** What SQLite could not check here, and why. */
  readonly unchecked: readonly UncheckedTable[];
}

/** Rows of a table that refer to rows that are not there. */
export interface KeyViolations {
  readonly table: string;
  readonly parent: string;
  readonly rows: number;
}

/** A table that SQLite cannot check here, or not with all its indexes. */
export interface UncheckedTable {
  readonly name: string;
  /** SQLite's words. */
  readonly error: string;
}

/**
 * Checks all pages, indexes and foreign keys of a database. A damage that stops the check is a problem, too. Where a table
 * needs what this SQLite does not have (a collation, a function), all others are checked all the same, and its rows are
 * read.
 *
 * @param maxProblems lines of damage
 */
export function checkIntegrity(db: InspectedDatabase, maxProblems: number): IntegrityReport {
  try {
    const unchecked: UncheckedTable[] = [];
    const problems = nameTrees(db, checkPages(db, maxProblems, unchecked));
    if (problems.length > 0) return { problems, violations: [], unchecked };
    return { problems, violations: checkKeys(db, unchecked), unchecked };
  } catch (error) {
    if (sqliteCodeOf(error) === undefined) throw error;
    return { problems: [toProblem(error)], violations: [], unchecked: [] };
  }
}

function checkPages(db: InspectedDatabase, maxProblems: number, unchecked: UncheckedTable[]): string[] {
  const problems: string[] = [];
  let stopped: unknown;
  try {
    collect(db.rows(`PRAGMA integrity_check(${maxProblems})`), problems);
    return problems;
  } catch (error) {
    if (sqliteCodeOf(error) === undefined) throw error;
    stopped = error;
  }
  // What was found before it stopped is named already; else table by table, to name the one.
  if (problems.length === 0) checkEachTable(db, maxProblems, problems, unchecked);
  if (problems.length === 0 && !isStatementError(stopped)) problems.push(toProblem(stopped));
  return problems.slice(0, maxProblems);
}

function checkEachTable(
  db: InspectedDatabase,
  maxProblems: number,
  problems: string[],
  unchecked: UncheckedTable[],
): void {
  const tables = [...db.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")];
  for (const [name] of [['sqlite_schema'], ...tables]) {
    if (problems.length >= maxProblems) return;
    const table = String(name);
    try {
      collect(db.rows(`PRAGMA integrity_check(${quoteName(table)})`), problems);
    } catch (error) {
      if (sqliteCodeOf(error) === undefined) throw error;
      if (!isStatementError(error)) {
        problems.push(`table ${table}: ${toProblem(error)}`);
        continue;
      }
      unchecked.push({ name: table, error: sqliteMessage(error) });
      const damage = readAll(db, table);
      if (damage !== undefined) problems.push(`table ${table}: ${damage}`);
    }
  }
}

function collect(rows: Iterable<readonly unknown[]>, problems: string[]): void {
  // All damage of a database is one text of many lines.
  for (const [text] of rows) {
    for (const line of String(text).split('\n')) {
      if (line !== 'ok' && !line.startsWith('***')) problems.push(line);
    }
  }
}

function toProblem(error: unknown): string {
  return `${sqliteCodeOf(error)}: ${sqliteMessage(error)}`;
}

/** Reads what a table stores. @returns what is damaged */
function readAll(db: InspectedDatabase, table: string): string | undefined {
  try {
    const stored = [...db.rows(`SELECT name FROM pragma_table_xinfo(${text(table)}) WHERE hidden IN (0, 3)`)];
    const columns = stored.map(([name]) => quoteName(String(name))).join();
    for (const _ of db.rows(`SELECT ${columns} FROM main.${quoteName(table)} NOT INDEXED`));
    return undefined;
  } catch (error) {
    return isStatementError(error) ? undefined : toProblem(error);
  }
}

function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** SQLite names a table or index by its root page: `Tree 5 page 9: …`. */
function nameTrees(db: InspectedDatabase, problems: readonly string[]): readonly string[] {
  if (!problems.some(problem => /^Tree \d/.test(problem))) return problems;
  const names = new Map<string, string>();
  try {
    for (const [root, type, name] of db.rows('SELECT rootpage, type, name FROM sqlite_schema')) {
      names.set(String(root), `${type} ${name}`);
    }
  } catch (error) {
    if (sqliteCodeOf(error) === undefined) throw error;
    return problems; // the schema itself is damaged
  }
  return problems.map(problem =>
    problem.replace(/^Tree (\d+)/, (tree, root: string) => {
      const name = root === '1' ? 'the schema' : names.get(root);
      return name === undefined ? tree : `${name} (tree ${root})`;
    }),
  );
}

function checkKeys(db: InspectedDatabase, unchecked: UncheckedTable[]): KeyViolations[] {
  try {
    return countKeys(db.rows('PRAGMA foreign_key_check'));
  } catch (error) {
    if (!isStatementError(error)) throw error;
  }
  const violations: KeyViolations[] = [];
  const tables = [...db.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")];
  for (const [name] of tables) {
    try {
      violations.push(...countKeys(db.rows(`PRAGMA foreign_key_check(${quoteName(String(name))})`)));
    } catch (error) {
      if (!isStatementError(error)) throw error;
      const entry = { name: String(name), error: sqliteMessage(error) };
      if (!unchecked.some(known => known.name === entry.name && known.error === entry.error))
        unchecked.push(entry);
    }
  }
  return violations;
}

function countKeys(rows: Iterable<readonly unknown[]>): KeyViolations[] {
  const counts = new Map<string, { table: string; parent: string; rows: number }>();
  for (const [table, , parent] of rows) {
    const key = JSON.stringify([table, parent]);
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { table: String(table), parent: String(parent), rows: 1 });
    else known.rows++;
  }
  return [...counts.values()];
}
