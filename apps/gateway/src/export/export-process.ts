import { join } from 'node:path';
import {
  fileInUse,
  isOnewriterError,
  NEWEST_COMMIT_SEQ_SQL,
  ownNames,
  SnapshotIndex,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import { openTenantFile } from '../reads/open-tenant-file.ts';
import { toReadError } from '../reads/read-errors.ts';
import { copyFile, openCopy, settleCopy } from './copy-file.ts';
import type { ExportMessage, ExportTask } from './export-messages.ts';
import { ExportOutput } from './export-output.ts';
import { assertReadable, findTable, readTables } from './export-tables.ts';
import { writeDump } from './write-dump.ts';
import { assertHasRows, writeCsv, writeNdjson } from './write-rows.ts';

/*
 * A process that writes one export to its standard output and ends. Its argument is an ExportTask as JSON. Its parent kills
 * it when it takes too long.
 */

const task = JSON.parse(process.argv[2]!) as ExportTask;
const output = new ExportOutput();
let begun = false;

process.on('disconnect', () => process.exit(1));
try {
  const db = open();
  if (task.format === 'sqlite') await exportFile(db);
  else exportText(db);
  const rows = task.format === 'sqlite' ? undefined : output.rows;
  finish({ type: 'end', bytes: output.bytes, rows });
} catch (thrown) {
  const error = toWireError(toReadError(thrown, task.tenant));
  if (begun) writeFailure(error);
  finish({ type: 'error', error });
}

/** @throws OnewriterError as openTenantFile, and FILE_IN_USE */
function open(): Database.Database {
  try {
    return openTenantFile(task.files, task.tenant).db;
  } catch (error) {
    throw isOnewriterError(error, 'DATABASE_BUSY') ? fileInUse(task.tenant, error) : error;
  }
}

function begin(message: Omit<Extract<ExportMessage, { type: 'begin' }>, 'type'>): void {
  begun = true;
  process.send?.({ type: 'begin', ...message } satisfies ExportMessage);
}

function finish(message: ExportMessage): void {
  process.send?.(message, undefined, undefined, () => process.exit(message.type === 'end' ? 0 : 1));
}

/** All of it of one state of the database. */
function exportText(db: Database.Database): void {
  // A cell that reaches out of its page is an error, not a value.
  db.pragma('cell_size_check = ON');
  db.exec('BEGIN');
  const tables = readTables(db);
  output.guard(new SnapshotIndex(db.name), task.tenant);
  const { format, values } = task;
  const chosen = task.table === undefined ? undefined : findTable(db, tables, task.table);
  assertReadable(db, chosen === undefined ? tables : [chosen]);
  if (chosen !== undefined) assertHasRows(chosen);
  begin({ commitSeq: readCommitSeq(db) });
  if (format === 'sql') writeDump(db, output, tables);
  else if (format === 'csv') writeCsv(db, output, chosen!);
  else
    writeNdjson(db, output, chosen === undefined ? tables : [chosen], {
      values,
      named: chosen === undefined,
    });
  db.exec('COMMIT');
}

async function exportFile(db: Database.Database): Promise<void> {
  const path = join(task.scratch, 'snapshot.db');
  const index = new SnapshotIndex(db.name);
  await copyFile(db, path);
  index.assertKept(task.tenant);
  const commitSeq = settleCopy(path, readCommitSeq);
  const copy = openCopy(path);
  begin({ commitSeq, bytes: copy.bytes });
  for (const piece of copy.read()) output.writeBytes(piece);
}

/** The newest commit in a file; undefined where no writer has opened it. */
function readCommitSeq(file: Database.Database): number | undefined {
  const names = ownNames(file);
  const hasState = file.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?');
  if (hasState.get(names('sqlite_onewriter_state')) === undefined) return undefined;
  return file.prepare<[], number>(names(NEWEST_COMMIT_SEQ_SQL)).pluck().get();
}

/** Says in the export itself why it is not whole, for people who look at what they have; the connection breaks after it. */
function writeFailure(error: WireError): void {
  const reason = `${error.code} ${error.message}`.replace(/\s+/g, ' ');
  try {
    if (task.format === 'ndjson') output.fail(`${JSON.stringify({ error })}\n`);
    else if (task.format === 'sql') output.fail(`\n-- This dump is not whole: ${reason}\n`);
    else output.flush();
  } catch {
    // the reader is gone: the parent knows
  }
}
