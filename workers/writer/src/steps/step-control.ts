import type { Database, Statement } from 'better-sqlite3';

/** Transaction control of steps, compiled. */
export type StepControl = Readonly<
  Record<
    | 'statement'
    | 'releaseStatement'
    | 'rollbackToStatement'
    | 'transaction'
    | 'releaseTransaction'
    | 'rollbackToTransaction'
    | 'rollback',
    Statement<[]>
  >
>;

/** Compiles the transaction control of steps, on first use, because most tenants never see any. */
export function compileStepControl(db: Database): StepControl {
  return {
    statement: db.prepare('SAVEPOINT step'),
    releaseStatement: db.prepare('RELEASE step'),
    rollbackToStatement: db.prepare('ROLLBACK TO step'),
    transaction: db.prepare('SAVEPOINT steps'),
    releaseTransaction: db.prepare('RELEASE steps'),
    rollbackToTransaction: db.prepare('ROLLBACK TO steps'),
    rollback: db.prepare('ROLLBACK'),
  };
}
