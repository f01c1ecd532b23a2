import { classifyStatement, LIMITS, OnewriterError, planScript } from '@onewriter/protocol';
import type { TransactionStatement } from '../types.ts';
import { atStatement, type StatementInput } from './encoded-write.ts';
import { assertParameters } from './parameters.ts';

/**
 * Refuses what the writer would refuse in a script or a transaction, before anything is sent.
 * @throws OnewriterError with `statementIndex`
 */
export function assertAllowed(statements: readonly string[]): void {
  const plan = planScript(statements);
  statements.forEach((sql, index) => {
    if (plan?.frame.has(index)) return;
    try {
      classifyStatement(sql);
    } catch (error) {
      throw atStatement(error, index);
    }
  });
}

/** Refuses a script without a statement. @throws OnewriterError INVALID_ARGUMENT */
export function assertStatements(statements: readonly string[], tenant: string | undefined): void {
  if (statements.length > 0) return;
  const details = tenant === undefined ? {} : { tenant };
  throw new OnewriterError('INVALID_ARGUMENT', 'There is no statement in this script.', details);
}

/** The statements of a transaction, to be encoded. @throws OnewriterError INVALID_ARGUMENT, STATEMENT_TOO_LARGE; as {@link assertAllowed} */
export function checkTransaction(
  statements: readonly TransactionStatement[],
  tenant?: string | undefined,
): StatementInput[] {
  if (!Array.isArray(statements) || statements.length === 0) {
    throw new OnewriterError('INVALID_ARGUMENT', 'A transaction takes an array of at least one statement.');
  }
  const { maxTransactionStatements } = LIMITS;
  if (statements.length > maxTransactionStatements) {
    const message = `The transaction has ${statements.length} statements; at most ${maxTransactionStatements} are allowed: split it.`;
    throw new OnewriterError('STATEMENT_TOO_LARGE', message, { tenant, maxTransactionStatements });
  }
  assertAllowed(statements.map(statement => statement?.sql));
  return statements.map(({ sql, params, expect }, index) => {
    try {
      return { sql, params: assertParameters(params), ...(expect === undefined ? {} : { expect }) };
    } catch (error) {
      throw atStatement(error, index);
    }
  });
}
