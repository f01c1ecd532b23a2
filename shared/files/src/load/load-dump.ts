import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { boundMessage, isOnewriterError, OnewriterError, sqliteMessage } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import { DanglingRows } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { SPARE_BYTES } from '../assert-room.ts';
import { toFileError } from '../open/file-error.ts';
import { type DumpStep, judgeDumpStatement } from './dump-statement.ts';
import { readStatements } from './read-statements.ts';

/** What a load of a dump did. */
export interface LoadedDump {
  readonly statements: number;
  /** What of the dump was left out, for people. */
  readonly leftOut: readonly string[];
}

/** Memory for pages; more are written to the file before the end. */
const CACHE_KIB = 64 * 1024;
const PROGRESS_EVERY_MS = 250;
/** Rows named where foreign keys are broken. */
const MAX_NAMED = 5;
/** Source: tabIsReadOnly() in SQLite's insert.c, sqlite3CheckObjectName() in build.c. */
const PROTECTED = /^(?:table (.+) may not be modified|object name reserved for internal use: (.+))$/;

/**
 * Runs a dump in a draft, which its caller puts in place as a whole, or removes. So the draft needs no journal, and nothing of it is
 * flushed before its end: the file is the transaction. Any error is the end of it.
 *
 * @param source a file of SQL in UTF-8
 * @param draft a new file, or a copy of a tenant's
 * @param onProgress bytes that were read
 * @param spareBytes what stays free on the disk
 * @throws OnewriterError with the line: SQL_ERROR, CONSTRAINT_VIOLATION, STATEMENT_NOT_ALLOWED, INVALID_ARGUMENT (cut off, empty, not
 * UTF-8), STATEMENT_TOO_LARGE, DATABASE_…
 */
export function loadDump(
  source: string,
  draft: string,
  onProgress: (bytes: number) => void,
  spareBytes: number = SPARE_BYTES,
): LoadedDump {
  const db = new Database(draft);
  try {
    boundPages(db, spareBytes);
    const load = new DumpLoad(db);
    let reportedAt = performance.now();
    for (const { sql, line, bytes } of readStatements(source)) {
      try {
        load.apply(judgeDumpStatement(sql), sql, line);
      } catch (error) {
        throw atLine(error, line);
      }
      if (performance.now() - reportedAt < PROGRESS_EVERY_MS) continue;
      reportedAt = performance.now();
      onProgress(bytes);
    }
    return load.end();
  } finally {
    db.close();
  }
}

/** A few bytes of SQL can make rows without end, and other tenants need the rest of the disk. */
function boundPages(db: Database.Database, spareBytes: number): void {
  const { bavail, bsize } = statfsSync(dirname(db.name));
  const room = Math.max(0, bavail * bsize - spareBytes);
  const read = (pragma: string) => Number(db.pragma(pragma, { simple: true }));
  db.pragma(`max_page_count = ${Math.max(1, read('page_count') + Math.floor(room / read('page_size')))}`);
}

/**
 * One load, on a connection of its own. Foreign keys:
 *
 *   off                as the dump says: its rows are loaded as they were, and may only dangle in an empty file
 *   on, for rows       SQLite would refuse a row whose parent's table comes later, as in exports of D1: they are off, and all rows are
 *                      checked at the end
 *   on, for the rest   on: what is deleted takes its children along
 */
class DumpLoad {
  readonly #db: Database.Database;
  readonly #leftOut = new Set<string>();
  /** Virtual tables that it made: only their shadow tables may be written. */
  readonly #virtual = new Set<string>();
  /** What dangled before. */
  readonly #dangling: DanglingRows;
  /** Whether the dump has them on now. */
  #keys = true;
  /** Whether it has had them off. */
  #hadKeysOff = false;
  /** Whether they are on for SQLite. */
  #enforced = true;
  #statements = 0;
  /** Line of a BEGIN that no COMMIT has ended. */
  #openSince: number | undefined;

  constructor(db: Database.Database) {
    this.#db = db;
    this.#unprotected(() => db.pragma('journal_mode = OFF'));
    db.pragma('synchronous = OFF');
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma(`cache_size = -${CACHE_KIB}`);
    db.pragma('foreign_keys = ON');
    this.#dangling = new DanglingRows(db);
  }

  apply(step: DumpStep, sql: string, line: number): void {
    this.#statements++;
    switch (step.type) {
      case 'begin':
        this.#openSince = line;
        return;
      case 'commit':
        this.#openSince = undefined;
        if (this.#enforced) this.#commit();
        return;
      case 'skip':
        return;
      case 'leaveOut':
        this.#leftOut.add(step.what);
        return;
      case 'foreignKeys':
        this.#keys = step.on;
        this.#hadKeysOff ||= !step.on;
        return;
      case 'sequences':
        this.#begin(this.#enforced);
        for (const each of this.#dangling.wasEmpty ? [sql] : step.merging) this.#run(each);
        return;
      case 'virtualTable':
        this.#begin(false);
        this.#createVirtual(step);
        return;
      case 'run':
        // Rows that were deleted may come back: it stays as it is until a COMMIT.
        this.#begin(this.#keys && (!step.adds || (this.#enforced && this.#db.inTransaction)));
        this.#run(sql);
        return;
      default:
        step satisfies never;
    }
  }

  /** @throws OnewriterError INVALID_ARGUMENT, CONSTRAINT_VIOLATION */
  end(): LoadedDump {
    if (this.#openSince !== undefined) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `The dump is cut off: no COMMIT ends the transaction of line ${this.#openSince}.`,
        { line: this.#openSince },
      );
    }
    if (this.#statements === 0)
      throw new OnewriterError('INVALID_ARGUMENT', 'There is no statement in the dump.');
    this.#commit();
    if (this.#hadKeysOff || !this.#dangling.wasEmpty) this.#dangling.assertNoneAdded();
    else assertNoneDangles(this.#db);
    return { statements: this.#statements, leftOut: [...this.#leftOut] };
  }

  /** @param enforced whether foreign keys are: SQLite changes that only outside of a transaction */
  #begin(enforced: boolean): void {
    if (enforced !== this.#enforced) {
      this.#commit();
      this.#db.pragma(`foreign_keys = ${enforced ? 'ON' : 'OFF'}`);
      this.#enforced = enforced;
    }
    if (this.#db.inTransaction) return;
    this.#db.exec('BEGIN');
    this.#db.pragma('defer_foreign_keys = ON');
  }

  #commit(): void {
    if (this.#db.inTransaction) this.#db.exec('COMMIT');
  }

  #run(sql: string): void {
    try {
      this.#db.exec(sql);
    } catch (error) {
      const [, written, made] = PROTECTED.exec((error as Error).message) ?? [];
      const shadow = written ?? made;
      if (shadow === undefined || !this.#virtual.has(ownerOf(shadow))) throw error;
      this.#unprotected(() => this.#db.exec(sql));
    }
  }

  #createVirtual({ name, sql, filled }: Extract<DumpStep, { type: 'virtualTable' }>): void {
    const isNew =
      this.#db.prepare('SELECT 1 FROM sqlite_schema WHERE lower(name) = lower(?)').get(name) === undefined;
    if (filled && isNew && this.#hasShadows(name)) {
      this.#writeIntoSchema(name, sql);
      return;
    }
    this.#db.exec(sql);
    if (!isNew) return;
    this.#virtual.add(name.toLowerCase());
    if (!filled) return;
    // The rows that follow are all that these tables had: not what the statement has put there.
    const shadows = this.#db
      .prepare<[], string>("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'")
      .pluck()
      .all();
    this.#unprotected(() => {
      for (const shadow of shadows.filter(candidate => ownerOf(candidate) === name.toLowerCase())) {
        this.#db.exec(`DELETE FROM ${quoteName(shadow)}`);
      }
    });
  }

  /** In a file that was vacuumed they come first, and so they do in its dump. */
  #hasShadows(name: string): boolean {
    const tables = this.#db
      .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .pluck()
      .all();
    return tables.some(table => table.includes('_') && ownerOf(table) === name.toLowerCase());
  }

  /** Its own statement would make the shadow tables that are there. */
  #writeIntoSchema(name: string, sql: string): void {
    this.#unprotected(() => {
      this.#db.pragma('writable_schema = ON');
      this.#db.prepare("INSERT INTO sqlite_schema VALUES ('table', ?, ?, 0, ?)").run(name, name, sql);
      this.#db.pragma('writable_schema = RESET');
    });
    this.#virtual.add(name.toLowerCase());
  }

  /** SQLite lets nothing write to shadow tables, or switch the journal off, while SQLITE_DBCONFIG_DEFENSIVE is on. */
  #unprotected(run: () => void): void {
    this.#db.unsafeMode(true);
    try {
      run();
    } finally {
      this.#db.unsafeMode(false);
    }
  }
}

/** The name before the last `_` of a shadow table. Source: sqlite3ShadowTableName() in SQLite's build.c. */
function ownerOf(shadow: string): string {
  return shadow.slice(0, shadow.lastIndexOf('_')).toLowerCase();
}

/** @throws OnewriterError CONSTRAINT_VIOLATION with the first rows */
function assertNoneDangles(db: Database.Database): void {
  const rows = db
    .prepare<[], [string, number | null, string]>(
      `SELECT "table", rowid, parent FROM pragma_foreign_key_check LIMIT ${MAX_NAMED}`,
    )
    .raw()
    .all();
  if (rows.length === 0) return;
  const named = rows.map(
    ([table, row, parent]) => `${table}${row === null ? '' : ` row ${row}`} has no parent in ${parent}`,
  );
  const message =
    `Foreign keys are on, and ${named.join('; ')}${rows.length === MAX_NAMED ? '; and perhaps more' : ''}. ` +
    'A dump that begins with PRAGMA foreign_keys=OFF is loaded with such rows.';
  const details = { sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY' };
  throw new OnewriterError('CONSTRAINT_VIOLATION', boundMessage(message), details);
}

function atLine(error: unknown, line: number): OnewriterError {
  const known = isOnewriterError(error) ? error : toFileError(error, 'SQLite');
  const message = isOnewriterError(error) ? error.message : sqliteMessage(error);
  return new OnewriterError(known.code, `Line ${line}: ${message}`, { ...known.details, line }, error);
}
