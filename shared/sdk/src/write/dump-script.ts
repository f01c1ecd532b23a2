import { classifyStep, type StepClass } from '@onewriter/protocol';

/**
 * Whether a script is a dump: `PRAGMA foreign_keys=OFF; BEGIN; … COMMIT;`, as exports and the sqlite3 shell's `.dump` write
 * it. Its frame means what it says: rows may come before those that they refer to, and nothing is kept unless all is.
 */
export function isDump(statements: readonly string[]): boolean {
  if (statements.length < 3) return false;
  const first = classify(statements[0]!);
  return (
    first?.kind === 'session' &&
    first.pragma === 'foreign_keys' &&
    classify(statements[1]!)?.kind === 'begin' &&
    classify(statements.at(-1)!)?.kind === 'commit'
  );
}

function classify(sql: string): StepClass | undefined {
  try {
    return classifyStep(sql);
  } catch {
    return undefined; // refused when the script is looked at
  }
}
