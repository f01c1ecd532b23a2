import type { PlannedStep } from './compile-requests.ts';
import { toStepError } from './hrana-error.ts';
import type { StatementKind } from './statement-kind.ts';
import type { Step, StepError, StepResult } from './steps.ts';
import type { HranaStream } from './streams.ts';

/* What the steps of a request are, as far as it decides where they run; and how they are passed on. */

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
function needsTransactionOfWriter(known: StatementKind): boolean {
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

/** As the writer's client takes it, which need not classify again what may be a megabyte. */
export function toWriteStep(step: PlannedStep): Step {
  const kinds = step.classes.flatMap(({ kind }) => (kind === 'refused' ? [] : [kind]));
  return { ...toStep(step), kinds };
}

/** As a reading process takes it. @param writesFailWith what needs the writer fails with this */
export function toReadStep(step: PlannedStep, writesFailWith: StepError | undefined): Step {
  if (step.refused !== undefined) return toStep(step);
  const refused = step.classes.find(known => known.kind === 'refused');
  if (refused !== undefined) return { ...toStep(step), refused: toStepError(refused.error) };
  const writes = writesFailWith !== undefined && step.classes.some(needsTransactionOfWriter);
  return writes ? { ...toStep(step), refused: writesFailWith } : toStep(step);
}

function toStep({ sql, script, describe, params, rows, condition, refused }: PlannedStep): Step {
  return { sql, script, describe, params, rows, condition, refused };
}
