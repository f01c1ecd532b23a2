import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  INTERNAL_TABLE_PREFIX,
  NEWEST_COMMIT_SEQ_SQL,
  OnewriterError,
  type SqlValue,
  toWireError,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { openTenantFile } from '../reads/open-tenant-file.ts';
import { toReadError } from '../reads/read-errors.ts';
import { valueWriter } from '../v1/result-shapes.ts';
import type { ExportMessage, ExportTask } from './export-messages.ts';
import { quoteName, toCsvField, toSqlLiteral } from './sql-text.ts';
import { toTaggedJson } from './tagged-json.ts';

/*
 * A process that writes one export to its standard output and ends. Its argument is an ExportTask as JSON. Writing blocks
 * when nobody reads, so it never runs ahead of a slow reader. Its parent kills it when it takes too long.
 */

const STDOUT = 1;
/** Text that is gathered before it is written. */
const FLUSH_CHARACTERS = 64 * 1024;
const COPY_BYTES = 256 * 1024;
/** SQLite's largest number of pages in one step: the copy is made in one go, so that writers never make it begin anew. */
const ALL_PAGES = 0x7fffffff;
const BACKUP_TRIES = 20;
const BACKUP_PAUSE_MS = 50;

interface TableInfo {
  readonly name: string;
  readonly type: string;
  readonly sql: string | null;
}

const task = JSON.parse(process.argv[2]!) as ExportTask;
const db = openOrFail();
let pending = '';

process.on('disconnect', () => process.exit(1));
try {
  if (task.format === 'sqlite') await exportSnapshot();
  else exportText();
  finish({ type: 'end' });
} catch (error) {
  finish({ type: 'error', error: toWireError(toReadError(error, task.tenant)) });
}

function openOrFail(): Database.Database {
  try {
    return openTenantFile(task.files, task.tenant);
  } catch (error) {
    finish({ type: 'error', error: toWireError(toReadError(error, task.tenant)) });
    throw error;
  }
}

function send(message: ExportMessage): void {
  process.send?.(message);
}

function finish(message: ExportMessage): void {
  process.send?.(message, undefined, undefined, () => process.exit(message.type === 'end' ? 0 : 1));
}

function write(text: string): void {
  pending += text;
  if (pending.length >= FLUSH_CHARACTERS) flush();
}

function flush(): void {
  writeAll(Buffer.from(pending, 'utf8'));
  pending = '';
}

function writeAll(bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) {
    written += writeSync(STDOUT, bytes, written, bytes.length - written);
  }
}

/** All of it of one state of the database. */
function exportText(): void {
  db.exec('BEGIN');
  const tables = readTables();
  const chosen = task.table === undefined ? tables : tables.filter(({ name }) => name === task.table);
  if (task.table !== undefined && chosen.length === 0) {
    throw new OnewriterError('NOT_FOUND', 'There is no such table.', { tenant: task.tenant });
  }
  send({ type: 'begin', commitSeq: readCommitSeq(db) });
  if (task.format === 'sql') writeDump(tables);
  else if (task.format === 'csv') writeCsv(chosen[0]!.name);
  else for (const { name } of chosen) writeNdjson(name, task.table === undefined);
  flush();
  db.exec('COMMIT');
}

/** Tables with rows of their own, in the order in which they were made. */
function readTables(): TableInfo[] {
  return db
    .prepare<[], TableInfo>(
      `SELECT m.name, l.type, m.sql FROM sqlite_schema m JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name
       WHERE m.type = 'table' AND l.type IN ('table', 'virtual') AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         AND substr(m.name, 1, ${INTERNAL_TABLE_PREFIX.length}) <> '${INTERNAL_TABLE_PREFIX}'
       ORDER BY m.rowid`,
    )
    .all();
}

/** The newest commit in a file; undefined where no writer has opened it. */
function readCommitSeq(file: Database.Database): number | undefined {
  const exists = file.prepare("SELECT 1 FROM sqlite_schema WHERE name = '_onewriter_state'").get();
  if (exists === undefined) return undefined;
  return file.prepare<[], number>(NEWEST_COMMIT_SEQ_SQL).pluck().get();
}

/** Columns whose values are stored: not those that are generated or hidden. */
function storedColumns(table: string): string[] {
  return db
    .prepare<[string], string>('SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid')
    .pluck()
    .all(table);
}

function* rowsOf(table: string, columns: readonly string[]): Generator<SqlValue[], void, undefined> {
  const list = columns.map(quoteName).join(', ');
  const statement = db.prepare<[], SqlValue[]>(`SELECT ${list} FROM ${quoteName(table)}`);
  yield* statement.raw(true).safeIntegers(true).iterate();
}

function writeNdjson(table: string, named: boolean): void {
  const columns = storedColumns(table);
  const toValue = valueWriter(task.values);
  const toJson = task.values === 'tagged' ? toTaggedJson : JSON.stringify;
  const names = columns.map(name => JSON.stringify(name));
  for (const row of rowsOf(table, columns)) {
    const members = names.map((name, index) => `${name}:${toJson(toValue(row[index]!))}`);
    const object = `{${members.join()}}`;
    write(named ? `{"table":${JSON.stringify(table)},"row":${object}}\n` : `${object}\n`);
  }
}

function writeCsv(table: string): void {
  const columns = storedColumns(table);
  write(`${columns.map(toCsvField).join(',')}\r\n`);
  for (const row of rowsOf(table, columns)) write(`${row.map(toCsvField).join(',')}\r\n`);
}

/** What SQLite's own shell calls a dump. */
function writeDump(tables: readonly TableInfo[]): void {
  const pragma = (name: string) => String(db.pragma(name, { simple: true }));
  write('PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n');
  write(
    `PRAGMA user_version=${pragma('user_version')};\nPRAGMA application_id=${pragma('application_id')};\n`,
  );
  for (const { name, sql } of tables) {
    write(`${sql};\n`);
    const columns = storedColumns(name);
    const into = `INSERT INTO ${quoteName(name)}(${columns.map(quoteName).join(',')}) VALUES(`;
    for (const row of rowsOf(name, columns)) write(`${into}${row.map(toSqlLiteral).join(',')});\n`);
  }
  const sequences = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").get();
  if (sequences !== undefined) {
    write('DELETE FROM sqlite_sequence;\n');
    for (const row of rowsOf('sqlite_sequence', ['name', 'seq'])) {
      write(`INSERT INTO sqlite_sequence VALUES(${row.map(toSqlLiteral).join(',')});\n`);
    }
  }
  const rest = db
    .prepare<[], string>(
      `SELECT sql FROM sqlite_schema WHERE type IN ('index', 'view', 'trigger') AND sql IS NOT NULL
         AND substr(tbl_name, 1, ${INTERNAL_TABLE_PREFIX.length}) <> '${INTERNAL_TABLE_PREFIX}' ORDER BY rowid`,
    )
    .pluck();
  for (const sql of rest.iterate()) write(`${sql};\n`);
  write('COMMIT;\n');
}

/** A copy by SQLite's backup API, which is a consistent state; then the copy is what is sent. */
async function exportSnapshot(): Promise<void> {
  const path = join(task.scratch, 'snapshot.db');
  for (let tries = 1; ; tries++) {
    const { totalPages } = await db.backup(path, { progress: () => ALL_PAGES });
    // A source that is locked is no error: nothing was copied.
    if (totalPages > 0) break;
    if (tries === BACKUP_TRIES) {
      throw new OnewriterError('DATABASE_BUSY', 'Another process holds the database lock.', {
        tenant: task.tenant,
      });
    }
    await new Promise(resolve => setTimeout(resolve, BACKUP_PAUSE_MS));
  }
  const copy = new Database(path);
  let commitSeq: number | undefined;
  try {
    // One file that can be opened anywhere, without a write-ahead log beside it.
    copy.pragma('journal_mode = DELETE');
    commitSeq = readCommitSeq(copy);
  } finally {
    copy.close();
  }
  const file = openSync(path, 'r');
  // It is gone when this process is, however that ends.
  unlinkSync(path);
  send({ type: 'begin', commitSeq });
  const buffer = Buffer.alloc(COPY_BYTES);
  for (let bytes = readSync(file, buffer); bytes > 0; bytes = readSync(file, buffer)) {
    writeAll(buffer.subarray(0, bytes));
  }
  closeSync(file);
}
