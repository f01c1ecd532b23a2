import { classifyStep, OnewriterError } from '@onewriter/protocol';
import type { Step, StepResult } from '../../steps-types.ts';
import type { Tenant, TransactionStatement } from '../../types.ts';

/**
 * Applies migrations as a whole or not at all.
 *
 * Where SQLite cannot alter a table, drizzle-kit copies it and drops the old one, with foreign keys off, or the drop would
 * delete or refuse rows that refer to it. `PRAGMA foreign_keys` has no effect inside a transaction: it has to stand in front
 * of it, and before the COMMIT a check finds dangling references.
 *
 * @param isCurrent a SELECT with a row, unless another process has migrated meanwhile
 * @returns false if one has: nothing is applied
 * @throws OnewriterError as Tenant.transaction; STATEMENT_NOT_ALLOWED for transaction control in a migration
 */
export async function applyMigrations(
  tenant: Tenant,
  isCurrent: TransactionStatement,
  statements: readonly TransactionStatement[],
): Promise<boolean> {
  const ofSchema = statements.filter(({ sql }) => !isForeignKeysPragma(sql));
  if (ofSchema.length === statements.length) return applyWithForeignKeys(tenant, isCurrent, statements);
  return applyWithoutForeignKeys(tenant, isCurrent, ofSchema);
}

async function applyWithForeignKeys(
  tenant: Tenant,
  isCurrent: TransactionStatement,
  statements: readonly TransactionStatement[],
): Promise<boolean> {
  try {
    await tenant.transaction([{ ...isCurrent, expect: { rows: 1 } }, ...statements]);
    return true;
  } catch (error) {
    if (error instanceof OnewriterError && error.code === 'EXPECTATION_FAILED') return false;
    throw error;
  }
}

async function applyWithoutForeignKeys(
  tenant: Tenant,
  isCurrent: TransactionStatement,
  statements: readonly TransactionStatement[],
): Promise<boolean> {
  for (const { sql } of statements) {
    if (classifyStep(sql).kind === 'statement') continue;
    const message = 'A migration is a transaction as it is; leave transaction control out of it.';
    throw new OnewriterError('STATEMENT_NOT_ALLOWED', message, { tenant: tenant.id });
  }
  const dangling = 'SELECT 1 FROM pragma_foreign_key_check';
  const inTransaction = [
    { sql: 'BEGIN IMMEDIATE' },
    { ...isCurrent, sql: failUnless(`EXISTS (${isCurrent.sql})`) },
    ...statements,
    { sql: failUnless(`NOT EXISTS (${dangling})`) },
    { sql: 'COMMIT' },
  ];
  const steps: Step[] = [
    { sql: 'PRAGMA foreign_keys = OFF' },
    ...inTransaction.map(({ sql, params }, index): Step => {
      return { sql, params, rows: false, condition: { type: 'ok', step: index } };
    }),
    { sql: 'ROLLBACK', condition: { type: 'not', cond: { type: 'is_autocommit' } } },
    { sql: 'PRAGMA foreign_keys = ON' },
  ];
  const { results } = await tenant.steps({ steps });
  const failed = results.findIndex(({ type }) => type === 'error');
  if (failed === 2) return false;
  if (failed >= 0) throw asError(results[failed]!, failed === steps.length - 4, tenant.id);
  return true;
}

/** A SELECT that fails, in SQLite's words for malformed JSON, unless a condition holds. */
function failUnless(condition: string): string {
  return `SELECT CASE WHEN ${condition} THEN 1 ELSE json('condition not met') END`;
}

function asError(result: StepResult, isForeignKeyCheck: boolean, tenant: string): OnewriterError {
  if (isForeignKeyCheck) {
    const message = 'After the migrations rows would refer to rows that are not there; nothing is applied.';
    return new OnewriterError('CONSTRAINT_VIOLATION', message, {
      tenant,
      sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    });
  }
  if (result.type !== 'error') return new OnewriterError('INTERNAL', 'A step without an error.', { tenant });
  const { code, message, sqliteCode } = result.error;
  return new OnewriterError(code, message, { tenant, ...(sqliteCode === undefined ? {} : { sqliteCode }) });
}

function isForeignKeysPragma(sql: string): boolean {
  const step = classifyStep(sql);
  return step.kind === 'session' && step.pragma === 'foreign_keys';
}
