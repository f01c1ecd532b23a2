import { OnewriterError } from '@onewriter/protocol';
import type { Tenant, TransactionStatement } from '../../types.ts';

/**
 * Applies migrations as a whole or not at all.
 *
 * Where SQLite cannot alter a table, drizzle-kit copies it and drops the old one, with foreign keys off: the writer sees that in
 * the list, and looks for broken references at its end.
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
  try {
    await tenant.transaction([{ ...isCurrent, expect: { rows: 1 } }, ...statements]);
    return true;
  } catch (error) {
    if (error instanceof OnewriterError && error.code === 'EXPECTATION_FAILED') return false;
    throw error;
  }
}
