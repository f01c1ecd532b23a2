import { statSync } from 'node:fs';
import {
  checksIndexes,
  type DatabaseFile,
  FULL_TEXT_QUERIES_SQL,
  identifyLog,
  isAnsweredFromMemory,
  isLogReplaced,
  LIMITS,
  mayOutliveSchema,
  SCHEMA_CHECK_SQL,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import type { SqlRow } from '../types.ts';
import type { BoundParameters } from '../write/parameters.ts';
import { ReadStatement } from './read-statement.ts';

/** Distinguishes files at the same path. */
interface FileIdentity {
  readonly device: number;
  readonly inode: number;
}

/** SQLite's own wait for a lock: it blocks the event loop, so longer waits are ours. */
const NATIVE_BUSY_TIMEOUT_MS = 5;

/** The tenant's path leads to another file by now, or to none: the read is to be done again on what is there. */
export class FileReplaced extends Error {}

/** One read-only connection to a tenant's file, with its compiled statements. */
export class Reader {
  /** Path of the file itself; its write-ahead log is beside it. */
  readonly path: string;
  readonly #link: string;
  readonly #db: Database.Database;
  readonly #file: FileIdentity;
  readonly #log: ReturnType<typeof identifyLog>;
  readonly #statements = new LRUCache<string, ReadStatement>({ max: LIMITS.maxCachedStatements });
  readonly #schemaCheck: Database.Statement;
  /** The pool's clock when it was used last. */
  usedAt = 0;
  /** The pool's clock when it was put at the end of its list. */
  placedAt = 0;
  /** The turn in which it was last looked where the path leads. */
  checkedIn: number;
  #iterating: Generator<SqlRow, void, undefined> | undefined;
  #closed = false;

  /**
   * Opens the file, which must exist, and reads it. Who has read has its log open, too, and so notices a tombstone: see
   * infra/adr/0026-a-name-for-each-incarnation.md.
   * @param link the tenant's path, which led to the file
   * @throws FileReplaced; better-sqlite3's errors; the file system's where it is missing
   */
  constructor({ path }: DatabaseFile, link: string, turn: number) {
    this.path = path;
    this.#link = link;
    this.checkedIn = turn;
    // Never opened with fs: closing any descriptor of it would drop this process's SQLite locks on it.
    this.#file = identify(path);
    this.#db = new Database(path, { readonly: true, fileMustExist: true, timeout: NATIVE_BUSY_TIMEOUT_MS });
    try {
      this.#db.pragma('query_only = 1');
      this.#schemaCheck = this.#db.prepare(SCHEMA_CHECK_SQL);
      this.#schemaCheck.get();
      this.#log = identifyLog(path);
      if (this.isMoved()) throw new FileReplaced('The file was replaced while it was opened.');
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /** Whether the path leads to another file, or to none, or another log or index lies beside it. */
  isMoved(): boolean {
    try {
      const { inode, device } = identify(this.#link);
      const isOther = inode !== this.#file.inode || device !== this.#file.device;
      return isOther || isLogReplaced(this.path, this.#log);
    } catch {
      return true;
    }
  }

  /** Whether a read that failed is to be done again on what the path leads to now. */
  isReplaced(): boolean {
    if (this.isMoved()) return true;
    try {
      // A file that was deleted and put back is the same, and its connections still see the tombstone.
      return this.#schemaCheck.get() === undefined;
    } catch {
      return true; // opening it again reports the error
    }
  }

  /** The compiled statement, from the cache if it was used lately. @throws better-sqlite3's errors */
  statement(sql: string): ReadStatement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      if (isAnsweredFromMemory(sql)) {
        this.#checkSchema();
        if (checksIndexes(sql)) this.#openFullText();
        return new ReadStatement(() => this.#db.prepare(sql));
      }
      statement = new ReadStatement(() => this.#compile(sql), mayOutliveSchema(sql));
      this.#statements.set(sql, statement);
    }
    if (statement.mayOutliveSchema) this.#checkSchema();
    return statement;
  }

  /** A statement that is refused may have been compiled under an older schema than the file's: see schema-check.ts. */
  #compile(sql: string): Database.Statement {
    try {
      return this.#db.prepare(sql);
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#checkSchema();
      return this.#db.prepare(sql);
    }
  }

  /** Loads the schema again if it has changed. @throws FileReplaced where it is gone because the file is */
  #checkSchema(): void {
    if (this.#schemaCheck.get() === undefined && this.isMoved()) {
      throw new FileReplaced('The file was replaced.');
    }
  }

  /** Makes FTS5 read its indexes again where they have changed: see the protocol's schema-check.ts. */
  #openFullText(): void {
    for (const query of this.#db.prepare<[], string>(FULL_TEXT_QUERIES_SQL).pluck().all()) {
      try {
        this.#db.prepare(query).get();
      } catch (error) {
        if (!(error instanceof Database.SqliteError)) throw error;
      }
    }
  }

  /** Rows one after the other; one iteration at a time. @throws better-sqlite3's errors */
  iterate(sql: string, params: BoundParameters): Generator<SqlRow, void, undefined> {
    this.#iterating = this.statement(sql).iterate(params);
    return this.#iterating;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bounds SQLite's page cache of this connection. */
  limitCache(bytes: number): void {
    this.#db.pragma(`cache_size = -${Math.floor(bytes / 1024)}`);
  }

  /** Ends its iteration and closes the file. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#iterating?.return(); // better-sqlite3 closes no connection that is still stepping
    this.#statements.clear();
    this.#db.close();
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_ERROR';
}

function identify(path: string): FileIdentity {
  const { dev, ino } = statSync(path);
  return { device: dev, inode: ino };
}
