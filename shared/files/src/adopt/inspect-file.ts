import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { shownName, shownNames } from '@onewriter/protocol';
import { findBrokenObjects, inspected } from '@onewriter/runtime/inspect';
import Database from 'better-sqlite3';
import { checkFile, countViolations } from '../check/check-file.ts';
import type { FindingLevel } from '../check/finding.ts';
import { explainFile } from '../open/explain-file.ts';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly, readFormat } from '../open/open-database.ts';
import { findOwnObjects } from '../own/own-objects.ts';

/** What a look at a file finds. An error keeps it from being adopted. */
export interface FileNote {
  readonly level: FindingLevel;
  /** For programs: `readable`, `integrity`, `foreign-keys`, `journal`, `schema`, `names`, `rights`, `empty` … */
  readonly check: string;
  readonly found: string;
  readonly next: string;
}

/** A file of SQLite that Onewriter may not know yet. */
export interface FileLook {
  readonly bytes: number;
  /** Of its write-ahead log. */
  readonly walBytes: number;
  /** A transaction was cut off: SQLite undoes it when the file is opened for writes. */
  readonly hotJournal: boolean;
  /** Null: it could not be read; as `delete`, `wal`. */
  readonly journalMode: string | null;
  readonly pageSize: number | null;
  readonly encoding: string | null;
  /** Whether a broker has written it. */
  readonly isOnewriters: boolean;
  readonly notes: readonly FileNote[];
}

/** Lines of a kind that are listed. */
const MAX_LINES = 5;

/**
 * Looks at a file, and changes nothing of it: only where a log is left beside it, SQLite may make the index of that log (-shm). Its
 * schema can make that as long and as large as it likes, so it runs in a process that is bounded.
 */
export function inspectFile(path: string, busyTimeoutMs: number): FileLook {
  const notes: FileNote[] = [];
  const note = (level: FindingLevel, check: string, found: string, next: string) =>
    void notes.push({ level, check, found, next });
  const look = {
    bytes: statSync(path).size,
    walBytes: statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0,
    ...{ hotJournal: false, journalMode: null, pageSize: null, encoding: null, isOnewriters: false },
  };
  try {
    const hotJournal = isHot(`${path}-journal`);
    noteRights(path, note);
    const { isDatabase, isWalMode, trouble } = explainFile(path);
    if (look.bytes === 0) {
      note(
        'warning',
        'empty',
        'It is empty (0 bytes), which is an empty database.',
        'See whether that is all.',
      );
      return { ...look, hotJournal, notes };
    }
    if (!isDatabase) {
      note('error', 'readable', `${capital(trouble!)}.`, 'Leave it out, or see what it is.');
      return { ...look, hotJournal, notes };
    }
    if (look.walBytes > 0)
      note('note', 'journal', 'A log (-wal) is left beside it.', 'Nothing: --apply writes it back.');
    if (hotJournal) {
      note(
        'warning',
        'journal',
        'Its last transaction was cut off (a hot journal), so it cannot be read without changing it.',
        'Nothing: --apply has SQLite undo that transaction, and checks it then.',
      );
      return { ...look, hotJournal, journalMode: 'delete', notes };
    }
    const db = openForLook(path, isWalMode && look.walBytes === 0, busyTimeoutMs);
    try {
      return { ...look, ...readFacts(db), isOnewriters: noteContent(db, note), notes };
    } finally {
      db.close();
    }
  } catch (error) {
    const { message } = toFileError(error, 'It cannot be read');
    note('error', 'readable', message, 'Mend it, or restore a copy.');
    return { ...look, notes };
  }
}

type Note = (level: FindingLevel, check: string, found: string, next: string) => void;

/**
 * A connection that changes no content. For a file in WAL mode without a log SQLite makes one; only a connection that may write
 * removes it at the end.
 */
export function openForLook(path: string, makesLog: boolean, busyTimeoutMs: number): Database.Database {
  if (!makesLog || !mayWrite(path)) return openReadOnly(path, busyTimeoutMs);
  const db = new Database(path, { fileMustExist: true, timeout: busyTimeoutMs });
  try {
    db.pragma('query_only = 1');
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function readFacts(db: Database.Database): Pick<FileLook, 'journalMode' | 'pageSize' | 'encoding'> {
  const read = (name: string) => db.pragma(name, { simple: true });
  return {
    journalMode: read('journal_mode') as string,
    pageSize: read('page_size') as number,
    encoding: read('encoding') as string,
  };
}

/** @returns whether a broker has written it */
function noteContent(db: Database.Database, note: Note): boolean {
  const isOnewriters = readFormat(db) !== undefined;
  const own = findOwnObjects(db);
  if (own.length > 0 && !isOnewriters) {
    const names = shownNames([...new Set(own.map(({ name }) => name))].slice(0, MAX_LINES));
    note(
      'error',
      'names',
      `Names of Onewriter are taken, or have a trigger: ${names}.`,
      'Rename or drop them first: names that begin with _onewriter_ are for the broker.',
    );
  }
  const { problems, violations, unchecked } = checkFile(db);
  if (problems.length > 0) {
    note(
      'error',
      'integrity',
      `It is damaged: ${problems.slice(0, MAX_LINES).join('; ')}${more(problems.length)}.`,
      'Mend it (sqlite3 .recover), or use a backup.',
    );
  }
  const rows = countViolations({ problems, violations, unchecked });
  if (rows > 0) {
    const tables = shownNames([...new Set(violations.map(({ table }) => table))].slice(0, MAX_LINES));
    note(
      'warning',
      'foreign-keys',
      `${rows === 1 ? '1 row refers' : `${rows} rows refer`} to rows that are not there, in ${tables}.`,
      'Nothing, for reads. Onewriter enforces foreign keys for what is written from now on.',
    );
  }
  const broken = problems.length > 0 ? [] : findBrokenObjects(inspected(db));
  for (const { type, name, error } of broken.slice(0, MAX_LINES)) {
    note(
      'warning',
      'schema',
      `${capital(type)} ${shownName(name)} cannot be used here: ${error}.`,
      'Nothing, if the app can do without: all else works. The broker has no extensions.',
    );
  }
  if (broken.length > MAX_LINES)
    note('warning', 'schema', `${broken.length - MAX_LINES} more objects cannot be used.`, 'As above.');
  return isOnewriters;
}

function more(count: number): string {
  return count > MAX_LINES ? `; and ${count - MAX_LINES} more` : '';
}

function noteRights(path: string, note: Note): void {
  for (const part of [path, dirname(path)]) {
    try {
      accessSync(part, constants.R_OK | constants.W_OK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      note(
        'error',
        'rights',
        `This user may not read and write ${part} (${code}).`,
        'Run this as the user that the broker runs as, or give it the right.',
      );
    }
  }
}

function mayWrite(path: string): boolean {
  try {
    for (const part of [path, dirname(path)]) accessSync(part, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether a journal has a transaction that SQLite would undo: its header is there. One that was ended by overwriting that is not.
 * Source: sqlite.org/fileformat2.html#the_rollback_journal
 */
export function isHot(journal: string): boolean {
  if ((statSync(journal, { throwIfNoEntry: false })?.size ?? 0) === 0) return false;
  const file = openSync(journal, 'r');
  try {
    const first = Buffer.alloc(1);
    return readSync(file, first, 0, 1, 0) === 1 && first[0] !== 0;
  } finally {
    closeSync(file);
  }
}

function capital(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}
