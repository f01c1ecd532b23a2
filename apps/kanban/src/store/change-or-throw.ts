import { isOnewriterError } from '@onewriter/protocol';
import type { Tenant, TransactionStatement } from '@onewriter/sdk';
import { notFound } from '../kanban-error.ts';

/** A transaction whose only way to fail is that `what` is not there. @throws KanbanError NOT_FOUND */
export async function changeOrThrow(
  tenant: Tenant,
  what: string,
  statements: TransactionStatement[],
): Promise<void> {
  try {
    await tenant.transaction(statements);
  } catch (error) {
    const isMissing =
      isOnewriterError(error, 'EXPECTATION_FAILED') ||
      (isOnewriterError(error) && error.details.sqliteCode === 'SQLITE_CONSTRAINT_FOREIGNKEY');
    throw isMissing ? notFound(what) : error;
  }
}
