import { isMet, type StepCondition } from '@onewriter/protocol';
import type { Step as WriterStep, StepResult as WriterStepResult } from '@onewriter/sdk';

export type { StepCondition } from '@onewriter/protocol';
export type { StepColumn, StepsAnswer } from '@onewriter/sdk';

/** One step of a request: what the writer takes, or a statement that is only looked at. */
export interface Step extends WriterStep {
  /** Nothing runs: its columns and `readonly` are the answer. */
  readonly describe?: boolean | undefined;
}

/** What became of a step; integers in its rows are bigint. */
export type StepResult =
  | (Extract<WriterStepResult, { type: 'ok' }> & {
      /** Of a described statement: whether it leaves the database as it is. */
      readonly readonly?: boolean | undefined;
    })
  | { readonly type: 'error'; readonly error: StepError }
  | { readonly type: 'skipped' };

/** Why a step failed. */
export interface StepError {
  /** Of the error table. */
  readonly code: string;
  readonly message: string;
  /** SQLite's extended result code. */
  readonly sqliteCode?: string | undefined;
}

/** Whether a step is to run. @param outcomes of the steps before it */
export function isStepMet(
  condition: StepCondition | undefined,
  outcomes: readonly StepResult['type'][],
  autocommit: boolean,
): boolean {
  return condition === undefined || isMet(condition, { isOk: step => outcomes[step] === 'ok', autocommit });
}
