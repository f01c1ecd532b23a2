import { SqlTokens, takeStatements } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { readExactRows } from './exact-rows.ts';
import type { ExportOutput } from './export-output.ts';
import { type ExportTable, isTenantName } from './export-tables.ts';
import { quoteName, toSqlLiteral } from './sql-text.ts';

/*
 * A dump is one transaction, which the last line commits: a dump that is cut off commits nothing.
 *
 *   tables and their rows · virtual tables and their rows · indexes · views · triggers, so that none fires
 *   · sqlite_sequence, user_version, application_id · COMMIT
 *
 * It loads with the sqlite3 shell into an empty file, and as a script into a tenant. Neither needs `writable_schema`: a
 * virtual table is created by its own statement, which makes its shadow tables.
 */

/** How a dump begins and ends. */
const FIRST_LINES = 'PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n';
const LAST_LINE = 'COMMIT;\n';
const ORDER: readonly ExportTable['type'][] = ['table', 'virtual'];

/** Writes all of the tenant's own content as SQL. */
export function writeDump(db: Database, output: ExportOutput, tables: readonly ExportTable[]): void {
  output.write(FIRST_LINES);
  for (const type of ORDER) {
    for (const table of tables.filter(candidate => candidate.type === type)) writeTable(db, output, table);
  }
  writeStatistics(db, output);
  for (const type of ['index', 'view', 'trigger']) {
    const statement = db
      .prepare<[string], string>(
        `SELECT sql FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL
           AND ${isTenantName('name')} AND ${isTenantName('tbl_name')} ORDER BY rowid`,
      )
      .pluck();
    for (const sql of statement.all(type)) writeStatement(output, sql);
  }
  writeSequences(db, output, tables);
  for (const name of ['user_version', 'application_id']) {
    output.write(`PRAGMA ${name}=${db.pragma(name, { simple: true })};\n`);
  }
  output.end(LAST_LINE);
}

function writeTable(db: Database, output: ExportOutput, table: ExportTable): void {
  writeStatement(output, table.sql);
  if (table.content === 'rows') {
    if (table.module === 'fts5') writeSettings(db, output, table);
    output.rows += writeInserts(db, output, table);
  } else if (table.content === 'shadow') {
    for (const name of table.shadows) writeShadow(db, output, name);
  }
}

/** @returns how many */
function writeInserts(db: Database, output: ExportOutput, table: ExportTable): number {
  const columns = table.rowid === undefined ? table.columns : [table.rowid, ...table.columns];
  const into = `INSERT INTO ${quoteName(table.name)}(${columns.map(quoteName).join(',')}) VALUES(`;
  let rows = 0;
  for (const row of readExactRows(db, table)) {
    output.write(`${into}${row.map(toSqlLiteral).join(',')});\n`);
    rows++;
  }
  return rows;
}

/** What the statement that makes the virtual table has put there goes first. */
function writeShadow(db: Database, output: ExportOutput, name: string): void {
  output.write(`DELETE FROM ${quoteName(name)};\n`);
  const columns = db
    .prepare<[string], string>('SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid')
    .pluck()
    .all(name);
  writeInserts(db, output, {
    name,
    type: 'table',
    sql: '',
    content: 'rows',
    columns,
    rowid: undefined,
    shadows: [],
    module: undefined,
  });
}

/** What was set with `INSERT INTO ft(ft, rank) VALUES('automerge', 8)`. Source: sqlite.org/fts5.html, section 6. */
function writeSettings(db: Database, output: ExportOutput, { name, shadows }: ExportTable): void {
  const config = shadows.find(shadow => shadow.toLowerCase() === `${name.toLowerCase()}_config`);
  if (config === undefined) return;
  const settings = db
    .prepare<[], [string, string | bigint]>(
      `SELECT k, v FROM ${quoteName(config)} WHERE k <> 'version' ORDER BY k`,
    )
    .raw(true)
    .safeIntegers(true);
  for (const [key, value] of settings.all()) {
    const into = `INSERT INTO ${quoteName(name)}(${quoteName(name)},rank)`;
    output.write(`${into} VALUES(${toSqlLiteral(key)},${toSqlLiteral(value)});\n`);
  }
}

/** What ANALYZE found; the samples of STAT4 are left out, because not every SQLite has their table. */
function writeStatistics(db: Database, output: ExportOutput): void {
  if (!hasTable(db, 'sqlite_stat1')) return;
  const rows = db
    .prepare<[], [string, string | null, string | null]>(
      `SELECT tbl, idx, stat FROM sqlite_stat1 WHERE ${isTenantName('tbl')}`,
    )
    .raw(true)
    .all();
  if (rows.length === 0) return;
  output.write('ANALYZE sqlite_schema;\n');
  for (const row of rows) {
    output.write(`INSERT INTO sqlite_stat1(tbl,idx,stat) VALUES(${row.map(toSqlLiteral).join(',')});\n`);
  }
}

/** The table is there where one with AUTOINCREMENT was made, and has a row for each that had one inserted. */
function writeSequences(db: Database, output: ExportOutput, tables: readonly ExportTable[]): void {
  if (!hasTable(db, 'sqlite_sequence')) return;
  if (!tables.some(isAutoincrement)) return;
  const rows = db
    .prepare<[], [string, bigint]>('SELECT name, seq FROM sqlite_sequence ORDER BY rowid')
    .raw(true)
    .safeIntegers(true)
    .all();
  const own = new Set(tables.map(({ name }) => name));
  output.write('DELETE FROM sqlite_sequence;\n');
  for (const row of rows.filter(([name]) => own.has(name))) {
    output.write(`INSERT INTO sqlite_sequence(name,seq) VALUES(${row.map(toSqlLiteral).join(',')});\n`);
  }
}

/** A keyword that is never a bare name. */
function isAutoincrement({ type, sql }: ExportTable): boolean {
  if (type !== 'table') return false;
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'word' && tokens.text.toUpperCase() === 'AUTOINCREMENT') return true;
  }
  return false;
}

function hasTable(db: Database, name: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== undefined;
}

/** Ends a statement of the schema. One may end in a comment, which would swallow the semicolon. */
function writeStatement(output: ExportOutput, sql: string): void {
  const ends = [';', '\n;', '*/;'].find(candidate => {
    const { statements, rest } = takeStatements(sql + candidate);
    return statements.length === 1 && rest.trim() === '';
  });
  output.write(`${sql}${ends ?? ';'}\n`);
}
