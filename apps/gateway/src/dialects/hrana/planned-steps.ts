import type { StatementKind } from './classify-text.ts';
import type { PlannedStep } from './compile-requests.ts';
import type { StepResult } from './steps.ts';
import type { HranaStream } from './streams.ts';

/* What the steps of a request are, as far as it decides where they run. */

/** What a request begins with, where its stream may keep it; else a PRAGMA holds no longer than the request. */
export function foreignKeysOf(
  { foreignKeysOff }: HranaStream,
  steps: readonly PlannedStep[],
  closes: boolean,
): 'on' | 'off' | undefined {
  if (foreignKeysOff) return 'off';
  return !closes && steps.some(({ classes }) => classes.some(isUnusual)) ? 'on' : undefined;
}

function isUnusual(known: StatementKind): boolean {
  return known.kind === 'session' && !known.usual;
}

export function isWrite(known: StatementKind): boolean {
  if (known.kind === 'session') return isUnusual(known);
  return known.kind === 'statement' && known.statement.kind === 'write';
}

/** What only a transaction of the writer can do. */
export function needsTransactionOfWriter(known: StatementKind): boolean {
  return (
    known.kind === 'savepoint' || (known.kind === 'begin' && known.mode !== 'deferred') || isWrite(known)
  );
}

export function mayCommit({ kind }: StatementKind): boolean {
  return kind === 'commit' || kind === 'release';
}

export function isBegin({ kind }: StatementKind): boolean {
  return kind === 'begin' || kind === 'savepoint';
}

export function isRollback({ classes, refused }: PlannedStep): boolean {
  return refused === undefined && classes.length === 1 && classes[0]!.kind === 'rollback';
}

/** Whether the transaction that is open now was begun READONLY; undefined where it was begun earlier. */
export function lastBeginMode(
  steps: readonly PlannedStep[],
  results: readonly StepResult[],
): boolean | undefined {
  let readonly: boolean | undefined;
  for (const [index, { classes }] of steps.entries()) {
    if (results[index]?.type !== 'ok') continue;
    for (const known of classes) {
      if (known.kind === 'begin') readonly = known.readOnly;
    }
  }
  return readonly;
}
