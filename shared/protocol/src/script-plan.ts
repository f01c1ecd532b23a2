import { OnewriterError } from './onewriter-error.ts';
import { classifyStep, type SessionPragma, type StepClass } from './step-statement.ts';

/*
 * A script, or a transaction of statements, is one transaction as a whole. Tools and dumps write into it how plain SQLite would run
 * it, most of all for the rebuild of a table:
 *
 *   PRAGMA foreign_keys=OFF; BEGIN; CREATE new; INSERT … SELECT; DROP old; ALTER new RENAME; COMMIT; PRAGMA foreign_keys=ON
 *
 * BEGIN … COMMIT and SAVEPOINT … RELEASE, in pairs, add nothing to that, and are passed over. The PRAGMAs say how the whole is run,
 * wherever they stand: with foreign keys on, the DROP would delete the rows that refer to the table.
 * https://www.sqlite.org/lang_altertable.html
 */

/** How a list of statements that is applied as a whole is run, where it says something about that. */
export interface ScriptPlan {
  /** Off, or deferred to the end, for all of it. */
  readonly foreignKeys: 'on' | 'deferred' | 'off';
  /** Indexes of the statements that say how, and are not run. */
  readonly frame: ReadonlySet<number>;
}

/** Most texts hold no such word, and need no second look. */
const MENTIONS = /foreign_keys|\b(?:begin|commit|end|savepoint|release|rollback)\b/i;

/**
 * Looks for the statements that say how a list of statements is to be run.
 * @returns undefined where there are none
 * @throws OnewriterError STATEMENT_NOT_ALLOWED where they would have no effect
 */
export function planScript(statements: readonly string[]): ScriptPlan | undefined {
  const classes = statements.map(sql => (MENTIONS.test(sql) ? classify(sql) : undefined));
  const frame = new Set(findPairs(classes));
  let foreignKeys: ScriptPlan['foreignKeys'] = 'on';
  for (const step of classes) {
    if (step?.kind !== 'session' || step.usual) continue;
    if (step.pragma === 'foreign_keys') foreignKeys = 'off';
    else if (foreignKeys === 'on') foreignKeys = 'deferred';
  }
  if (foreignKeys === 'on') return frame.size === 0 ? undefined : { foreignKeys, frame };
  for (const [index, step] of classes.entries()) if (step?.kind === 'session') frame.add(index);
  if (frame.size === statements.length) {
    throw withoutEffect(foreignKeys === 'off' ? 'foreign_keys' : 'defer_foreign_keys');
  }
  return { foreignKeys, frame };
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

/**
 * The indexes of BEGIN, SAVEPOINT and what ends them. None at all where one has no counterpart or something is rolled back: then each
 * is refused where it stands, because leaving it out would change what the script does.
 */
function findPairs(classes: readonly (StepClass | undefined)[]): readonly number[] {
  const found: number[] = [];
  /** Savepoints by name, behind the BEGIN, if there was one. */
  const open: (string | typeof BEGIN)[] = [];
  for (const [index, step] of classes.entries()) {
    switch (step?.kind) {
      case 'begin':
        if (open.length > 0) return [];
        open.push(BEGIN);
        break;
      case 'savepoint':
        open.push(step.name);
        break;
      case 'commit':
        if (open.length === 0) return [];
        open.length = 0;
        break;
      case 'release': {
        const at = open.lastIndexOf(step.name);
        if (at < 0) return [];
        open.length = at;
        break;
      }
      case 'rollback':
      case 'rollback-to':
      case 'malformed':
        return [];
      default:
        continue;
    }
    found.push(index);
  }
  return open.length === 0 ? found : [];
}

const BEGIN = Symbol('BEGIN');

function classify(sql: string): StepClass | undefined {
  try {
    return classifyStep(sql);
  } catch {
    return undefined; // refused where it is run
  }
}
