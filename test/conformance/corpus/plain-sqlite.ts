import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { SqlValue } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { type DoneAnswer, type FailedAnswer, NOT_FROM_SQLITE } from './answer.ts';

/** Where no row with a rowid was inserted; null is libSQL's. */
const NO_ROWID = [0n, null];

/** Writes after which the WAL is written back, so that it does not grow with the file. */
const CHECKPOINT_EVERY = 500;

/**
 * Plain SQLite, with the settings of the writer: what every answer is compared with.
 *
 * A write outside a transaction, and each transaction, has a connection of its own, because that is what a caller is promised: it sees
 * the work of no other through `last_insert_rowid()` or `changes()`. One more connection stays open meanwhile, or SQLite
 * would write back the WAL whenever one is closed.
 */
export class PlainSqlite {
  readonly path: string;
  readonly #pragmas: readonly string[];
  readonly #keeper: Database.Database;
  #connection: Database.Database | undefined;
  #writes = 0;

  /** @param pragmas settings besides the writer's, such as `recursive_triggers = ON` */
  constructor(folder: string, pragmas: readonly string[]) {
    this.path = join(folder, 'plain.db');
    this.#remove();
    this.#pragmas = pragmas;
    this.#keeper = this.#open();
    this.#keeper.pragma('user_version');
  }

  /**
   * Runs one statement.
   * @param inserts whether it is an INSERT: only then the last rowid is in its result
   */
  run(sql: string, inserts: boolean): DoneAnswer | FailedAnswer {
    this.#connection ??= this.#open();
    const db = this.#connection;
    let endsConnection = true;
    try {
      const statement = db.prepare(sql);
      // What a PRAGMA sets ends with its connection, too.
      endsConnection = !statement.readonly || db.inTransaction || /^\s*pragma\b/i.test(sql);
      return this.#execute(db, statement, inserts);
    } catch (error) {
      return toFailure(error);
    } finally {
      if (endsConnection && !db.inTransaction) this.#endConnection();
    }
  }

  /** Ends an open transaction without committing it. */
  endTransaction(): void {
    this.#endConnection();
  }

  /** Idempotent. */
  close(): void {
    this.#endConnection();
    this.#keeper.close();
    this.#remove();
  }

  #execute(db: Database.Database, statement: Database.Statement, inserts: boolean): DoneAnswer {
    const counters = db.prepare<[], [bigint, bigint, bigint]>(
      'SELECT total_changes(), changes(), last_insert_rowid()',
    );
    counters.raw(true).safeIntegers(true);
    const [totalBefore] = counters.get()!;
    let rows: SqlValue[][] = [];
    let columns: string[] | undefined;
    if (statement.reader) {
      rows = statement.raw(true).safeIntegers(true).all() as SqlValue[][];
      columns = statement.columns().map(({ name }) => name);
    } else statement.run();
    const [total, changes, rowid] = counters.get()!;
    const changed = total === totalBefore || statement.readonly ? 0 : Number(changes);
    return {
      ...{ type: 'ok', columns, rows, changes: changed },
      lastInsertRowid: inserts && rowid !== 0n ? [rowid] : NO_ROWID,
      autocommit: !db.inTransaction,
    };
  }

  #open(): Database.Database {
    const db = new Database(this.path);
    // Nothing here has to survive a power failure; else as in the writer.
    for (const pragma of [
      'journal_mode = WAL',
      'synchronous = OFF',
      'foreign_keys = ON',
      'wal_autocheckpoint = 0',
    ]) {
      db.pragma(pragma);
    }
    for (const pragma of this.#pragmas) db.pragma(pragma);
    return db;
  }

  #endConnection(): void {
    this.#connection?.close();
    this.#connection = undefined;
    if (++this.#writes % CHECKPOINT_EVERY === 0) this.#keeper.pragma('wal_checkpoint(PASSIVE)');
  }

  #remove(): void {
    for (const suffix of ['', '-wal', '-shm', '-journal']) {
      if (existsSync(this.path + suffix)) rmSync(this.path + suffix);
    }
  }
}

/** Runs a read on a connection of its own to a file; undefined where it fails. */
export function readFrom(path: string, sql: string): DoneAnswer | FailedAnswer {
  const db = new Database(path, { readonly: true });
  try {
    const statement = db.prepare(sql).raw(true).safeIntegers(true);
    const rows = statement.all() as SqlValue[][];
    const columns = statement.columns().map(({ name }) => name);
    return { type: 'ok', columns, rows, changes: 0, lastInsertRowid: NO_ROWID, autocommit: true };
  } catch (error) {
    return toFailure(error);
  } finally {
    db.close();
  }
}

/** @throws what is neither SQLite's nor better-sqlite3's */
function toFailure(error: unknown): FailedAnswer {
  if (error instanceof Database.SqliteError)
    return { type: 'error', code: error.code, message: error.message };
  if (error instanceof RangeError || error instanceof TypeError) {
    return { type: 'error', code: NOT_FROM_SQLITE, message: error.message };
  }
  throw error;
}
