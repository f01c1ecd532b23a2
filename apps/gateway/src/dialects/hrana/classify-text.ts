import { classifyStep, isOnewriterError, splitScript } from '@onewriter/protocol';
import { RequestError } from './hrana-error.ts';
import { ScriptKinds } from './script-kinds.ts';
import type { StatementKind } from './statement-kind.ts';

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

/**
 * What the statements of a script are, in order, without what changes nothing; see {@link ScriptKinds}.
 * @throws as {@link classifyOne}; OnewriterError STATEMENT_TOO_LARGE
 */
export function classifyScript(sql: string): readonly StatementKind[] {
  const kinds = new ScriptKinds();
  for (const statement of splitScript(sql)) kinds.add(classifyOne(statement));
  return kinds.list;
}
