import { OnewriterError } from './onewriter-error.ts';
import { classifyStep, type SessionPragma, type StepClass } from './step-statement.ts';

/*
 * The rebuild of a table, as migration tools write it and as dumps begin:
 *
 *   PRAGMA foreign_keys=OFF; BEGIN; CREATE new; INSERT … SELECT; DROP old; ALTER new RENAME; COMMIT; PRAGMA foreign_keys=ON
 *
 * With foreign keys on, the DROP would delete the rows that refer to the table. In a script or a transaction of statements the
 * PRAGMAs and the frame say how the whole is to be run, wherever they stand. https://www.sqlite.org/lang_altertable.html
 */

/** How a list of statements that sets `foreign_keys` or `defer_foreign_keys` is run. */
export interface WithoutForeignKeys {
  /** Foreign keys are off for all of it; else they are only deferred to its end. */
  readonly off: boolean;
  /** Indexes of the statements that say so, and are not run: the PRAGMAs, BEGIN in front, COMMIT at the end. */
  readonly frame: ReadonlySet<number>;
}

/** Most texts hold no such word, and need no second look. */
const MENTIONS = /foreign_keys/i;

/**
 * Looks for the PRAGMAs in a list of statements that is applied as a whole.
 * @returns undefined where none changes anything
 * @throws OnewriterError STATEMENT_NOT_ALLOWED where they would have no effect
 */
export function findWithoutForeignKeys(statements: readonly string[]): WithoutForeignKeys | undefined {
  if (!statements.some(sql => MENTIONS.test(sql))) return undefined;
  const classes = statements.map(classify);
  const changes = classes.filter(step => step?.kind === 'session' && !step.usual);
  if (changes.length === 0) return undefined;
  const frame = new Set<number>();
  const inner: number[] = [];
  for (const [index, step] of classes.entries()) {
    if (step?.kind === 'session') frame.add(index);
    else inner.push(index);
  }
  const [first] = inner;
  const last = inner.at(-1);
  // Only as a pair, around everything: other transaction control is refused where it stands.
  if (classes[first ?? -1]?.kind === 'begin' && classes[last ?? -1]?.kind === 'commit') {
    frame.add(first!).add(last!);
  }
  const off = changes.some(step => step?.kind === 'session' && step.pragma === 'foreign_keys');
  if (frame.size === statements.length) throw withoutEffect(off ? 'foreign_keys' : 'defer_foreign_keys');
  return { off, frame };
}

/** What is said to one of the PRAGMAs where nothing could follow that it is for. */
export function withoutEffect(pragma: SessionPragma): OnewriterError {
  return new OnewriterError(
    'STATEMENT_NOT_ALLOWED',
    `PRAGMA ${pragma} with this value has no effect alone: it is set back at the end of the request. ` +
      'Send it with the statements that it is for, in front of BEGIN, as one request: exec() or transaction() of the SDK, a ' +
      'script, a batch or migrate() of a libSQL client.',
  );
}

function classify(sql: string): StepClass | undefined {
  try {
    return classifyStep(sql);
  } catch {
    return undefined; // refused where it is run
  }
}
