import { isOnewriterError, locateStatements, OnewriterError } from '@onewriter/protocol';

/** Adds to an error which statement of its input it is about. @param statement its number, from 1. @param line where it begins, from 1 */
export function atStatement(error: unknown, statement: number, line: number): unknown {
  if (!isOnewriterError(error)) return error;
  const { code, message, details } = error;
  return new OnewriterError(
    code,
    `Statement ${statement} (line ${line}): ${message}`,
    { ...details, statement, line },
    error,
  );
}

/** The same for a script that was run as a whole, whose error may have the index of a statement. */
export function inScript(error: unknown, script: string): unknown {
  const index = isOnewriterError(error) ? error.details.statementIndex : undefined;
  const found = index === undefined ? undefined : locateStatements(script)[index];
  return found === undefined ? error : atStatement(error, index! + 1, lineAt(script, found.start));
}

/** The line of a place in a text, from 1. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let end = text.indexOf('\n'); end >= 0 && end < offset; end = text.indexOf('\n', end + 1)) line++;
  return line;
}
