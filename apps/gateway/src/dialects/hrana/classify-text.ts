import {
  classifyStep,
  isOnewriterError,
  type OnewriterError,
  type StepClass,
  splitScript,
} from '@onewriter/protocol';
import { RequestError } from './hrana-error.ts';

/** What a statement is; `refused`: the statement rules say no. */
export type StatementKind = StepClass | { readonly kind: 'refused'; readonly error: OnewriterError };

/**
 * What one statement is.
 * @throws RequestError SQL_NO_STATEMENT, SQL_MANY_STATEMENTS
 * @throws OnewriterError INVALID_VALUE, INVALID_ARGUMENT, STATEMENT_TOO_LARGE
 */
export function classifyOne(sql: string): StatementKind {
  try {
    return classifyStep(sql);
  } catch (error) {
    const refused = isOnewriterError(error, 'STATEMENT_NOT_ALLOWED');
    if (!refused && !isOnewriterError(error, 'INVALID_ARGUMENT')) throw error;
    const count = splitScript(sql).length;
    if (count === 0) throw new RequestError('SQL_NO_STATEMENT', 'The SQL has no statement.');
    if (count > 1) {
      throw new RequestError('SQL_MANY_STATEMENTS', 'The SQL has more than one statement; send a sequence.');
    }
    if (!refused) throw error;
    return { kind: 'refused', error };
  }
}

/** What the statements of a script are, in order. @throws as {@link classifyOne} */
export function classifyScript(sql: string): readonly StatementKind[] {
  return splitScript(sql).map(classifyOne);
}
