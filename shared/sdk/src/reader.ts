import { statSync } from 'node:fs';
import {
  checksIndexes,
  FULL_TEXT_QUERIES_SQL,
  isAnsweredFromMemory,
  LIMITS,
  SCHEMA_CHECK_SQL,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { BoundParameters } from './parameters.ts';
import { ReadStatement } from './read-statement.ts';
import type { SqlRow } from './types.ts';

/** What tells one file from another at the same path. */
interface FileIdentity {
  readonly device: number;
  readonly inode: number;
}

/** SQLite's own wait for a lock: it blocks the event loop, so longer waits are ours. */
const NATIVE_BUSY_TIMEOUT_MS = 5;

/** One read-only connection to a tenant's file, with its compiled statements. */
export class Reader {
  readonly path: string;
  readonly #db: Database.Database;
  readonly #file: FileIdentity;
  readonly #statements = new Map<string, ReadStatement>();
  /** For choosing the least recently used: the pool's and the statements' clock. */
  usedAt = 0;
  #clock = 0;
  #checkedIn: number;
  #iterating: Generator<SqlRow, void, undefined> | undefined;
  #schemaCheck: Database.Statement | undefined;
  #closed = false;

  /**
   * Opens the file, which must exist.
   * @param period as of {@link isStale}
   * @throws better-sqlite3's errors; the file system's where it is missing
   */
  constructor(path: string, period: number) {
    this.path = path;
    // Never opened with fs: closing any descriptor of it would drop this process's SQLite locks on it.
    const before = identify(path);
    this.#db = new Database(path, { readonly: true, fileMustExist: true, timeout: NATIVE_BUSY_TIMEOUT_MS });
    try {
      this.#db.pragma('query_only = 1');
      const after = identify(path);
      if (after.inode !== before.inode || after.device !== before.device) {
        throw new Error('The file was replaced while it was opened.');
      }
    } catch (error) {
      this.#db.close();
      throw error;
    }
    this.#file = before;
    this.#checkedIn = period;
  }

  /**
   * Whether the file at the path may be another by now: deleted, or replaced (a restore, a move). SQLite would go
   * on reading the old one. Looks once in a period.
   * @param period a number that changes from time to time; asking a clock would cost a read three per cent
   */
  isStale(period: number): boolean {
    if (period === this.#checkedIn) return false;
    this.#checkedIn = period;
    try {
      const { inode, device } = identify(this.path);
      return inode !== this.#file.inode || device !== this.#file.device;
    } catch {
      return true;
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
      statement = new ReadStatement(() => this.#compile(sql));
      if (this.#statements.size >= LIMITS.maxCachedStatements) this.#dropOldestStatement();
      this.#statements.set(sql, statement);
    }
    statement.usedAt = ++this.#clock;
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

  /** Loads the schema again if it has changed. */
  #checkSchema(): void {
    this.#schemaCheck ??= this.#db.prepare(SCHEMA_CHECK_SQL);
    this.#schemaCheck.get();
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

  #dropOldestStatement(): void {
    let oldest: string | undefined;
    let usedAt = Number.POSITIVE_INFINITY;
    for (const [sql, statement] of this.#statements) {
      if (statement.usedAt >= usedAt) continue;
      oldest = sql;
      usedAt = statement.usedAt;
    }
    if (oldest !== undefined) this.#statements.delete(oldest);
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_ERROR';
}

function identify(path: string): FileIdentity {
  const { dev, ino } = statSync(path);
  return { device: dev, inode: ino };
}
