import { OnewriterError, type StatementExpectation } from '@onewriter/protocol';
import type { Tenant, TransactionStatement } from '@onewriter/sdk';
import sqlite, { type Database } from 'better-sqlite3';

/**
 * The SQL of the store on a real SQLite, without queue and broker: only what the store calls, applied at once.
 * The whole path is tested end to end elsewhere.
 */
export function createLocalTenant(database: Database): Tenant {
  const translate = (error: unknown): never => {
    if (!(error instanceof sqlite.SqliteError)) throw error;
    const isConstraint = error.code.startsWith('SQLITE_CONSTRAINT');
    throw new OnewriterError(isConstraint ? 'CONSTRAINT_VIOLATION' : 'SQL_ERROR', error.message, {
      sqliteCode: error.code,
    });
  };
  const attempt = async <T>(run: () => T): Promise<T> => {
    try {
      return run();
    } catch (error) {
      return translate(error);
    }
  };
  const one = (sql: string, params: unknown, expectation?: StatementExpectation) => {
    const statement = database.prepare(sql);
    const rows = statement.reader ? statement.all(params as unknown[]) : undefined;
    const changes = statement.reader
      ? (database.prepare('SELECT changes() AS n').get() as { n: number }).n
      : statement.run(params as unknown[]).changes;
    const isMet =
      (expectation?.changes ?? changes) === changes && (expectation?.rows ?? rows?.length) === rows?.length;
    if (!isMet) throw new OnewriterError('EXPECTATION_FAILED', 'Not as expected.');
    return { changes, rows, lastInsertRowid: 0, commitSeq: 0 };
  };
  const local = {
    id: 'local',
    prepare: (sql: string) => ({
      run: (...params: unknown[]) => attempt(() => database.prepare(sql).run(...params)),
      get: (...params: unknown[]) => attempt(() => database.prepare(sql).get(...params)),
      all: (...params: unknown[]) => attempt(() => database.prepare(sql).all(...params)),
    }),
    exec: (script: string) => attempt(() => database.transaction(() => database.exec(script))()),
    transaction: (statements: TransactionStatement[]) =>
      attempt(() => database.transaction(() => statements.map(s => one(s.sql, s.params ?? [], s.expect)))()),
    pragma: (sql: string, options: object) => attempt(() => database.pragma(sql, options)),
    enqueue: (sql: string, params: unknown[]) => attempt(() => database.prepare(sql).run(...params)),
  };
  return local as unknown as Tenant;
}
