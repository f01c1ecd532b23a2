import { isMet, type StepCondition } from '@onewriter/protocol';
import type { StepResult } from '@onewriter/sdk';

export type { StepCondition } from '@onewriter/protocol';
export type { Step, StepColumn, StepError, StepResult, StepsAnswer, StepsOptions } from '@onewriter/sdk';

/** Whether a step is to run. @param outcomes of the steps before it */
export function isStepMet(
  condition: StepCondition | undefined,
  outcomes: readonly StepResult['type'][],
  autocommit: boolean,
): boolean {
  return condition === undefined || isMet(condition, { isOk: step => outcomes[step] === 'ok', autocommit });
}
