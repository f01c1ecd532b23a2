import {
  isAnsweredFromMemory,
  isOnewriterError,
  isWithoutOwnTable,
  LIMITS,
  NEWEST_COMMIT_SEQ_SQL,
  readOwnTables,
  type SqlValue,
  toExactInteger,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import { type FileSettings, identifyFile, type OpenFile, openTenantFile } from './open-tenant-file.ts';
import { checkSchema, prepareRead } from './prepare-read.ts';

/** A compiled read. */
export type CompiledRead = Database.Statement<unknown[], unknown[]>;

/** One open tenant file of a reading process, with its compiled statements. */
export class TenantReader {
  readonly db: Database.Database;
  /** See the protocol's DatabaseFile; undefined where there is no file. */
  readonly incarnation: string | undefined;
  readonly #file: string | undefined;
  readonly #isLogReplaced: () => boolean;
  readonly #statements = new LRUCache<string, CompiledRead>({ max: LIMITS.maxCachedStatements });
  #commitSeq: Database.Statement<[], number> | undefined;

  /**
   * @param emptyIfMissing a tenant without a file has an empty database, which is stale at once
   * @throws OnewriterError as {@link openTenantFile}
   */
  constructor(files: FileSettings, tenant: string, emptyIfMissing = false) {
    const { db, incarnation, identity, isLogReplaced } = openFile(files, tenant, emptyIfMissing);
    this.db = db;
    this.incarnation = incarnation;
    this.#file = identity;
    this.#isLogReplaced = isLogReplaced;
  }

  /** Whether it stands for a tenant that has no file. */
  get isEmptyDatabase(): boolean {
    return this.#file === undefined;
  }

  /** Whether the path leads to another file by now (it was deleted, or replaced by a restore), or to one with another log or index. */
  isStale(files: FileSettings, tenant: string): boolean {
    return this.#file === undefined || identifyFile(files, tenant) !== this.#file || this.#isLogReplaced();
  }

  /**
   * Whether what it reads is of a file that does not count any more. The snapshot of a transaction counts on; one of a file
   * that had been replaced has no schema.
   */
  isReplaced(files: FileSettings, tenant: string): boolean {
    try {
      if (this.db.inTransaction) return !checkSchema(this.db) && this.isStale(files, tenant);
      return this.isStale(files, tenant) || !checkSchema(this.db);
    } catch (error) {
      // The index of its log was deleted, and the broker has made another (infra/adr/0029).
      if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_CANTOPEN')) return true;
      throw error;
    }
  }

  /** @throws better-sqlite3's errors; TypeError for a statement that returns no rows. */
  statement(sql: string): CompiledRead {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = prepareRead<unknown[]>(this.db, sql);
    // `readonly` says false of some PRAGMAs that only read; the connection itself cannot write.
    if (!statement.reader) throw new TypeError('This statement returns no rows.');
    statement.raw(true).safeIntegers(true);
    if (!isAnsweredFromMemory(sql)) this.#statements.set(sql, statement);
    return statement;
  }

  /** Loads the schema again if it has changed. @returns false where there is none, as in a file that was replaced */
  checkSchema(): boolean {
    return checkSchema(this.db);
  }

  /** The newest commit that this connection's transaction sees; undefined for a file that no writer has opened. */
  commitSeq(): number | undefined {
    try {
      return readOwnTables(names => {
        const sql = names(NEWEST_COMMIT_SEQ_SQL);
        if (this.#commitSeq?.source !== sql) this.#commitSeq = this.db.prepare<[], number>(sql).pluck();
        return this.#commitSeq.get();
      });
    } catch (error) {
      if (isWithoutOwnTable(error)) return undefined;
      throw error;
    }
  }

  /** Idempotent. */
  close(): void {
    this.#statements.clear();
    this.db.close();
  }
}

/** Turns the integers of a row into numbers where that is exact, in place. */
export function narrowIntegers(row: SqlValue[]): void {
  for (let index = 0; index < row.length; index++) {
    const value = row[index];
    if (typeof value === 'bigint') row[index] = toExactInteger(value);
  }
}

function openFile(
  files: FileSettings,
  tenant: string,
  emptyIfMissing: boolean,
): Pick<OpenFile, 'db' | 'isLogReplaced'> & {
  readonly [Key in 'incarnation' | 'identity']: string | undefined;
} {
  try {
    return openTenantFile(files, tenant);
  } catch (error) {
    if (!emptyIfMissing || !isOnewriterError(error, 'TENANT_NOT_FOUND')) throw error;
    const db = new Database(':memory:');
    db.pragma('query_only = 1');
    return { db, incarnation: undefined, identity: undefined, isLogReplaced: () => false };
  }
}
