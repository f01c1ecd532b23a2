import type { StepCondition } from './steps.ts';

/** A condition with other ones in the place of `ok` and `error`. */
export function mapSteps(
  condition: StepCondition,
  map: (type: 'ok' | 'error', step: number) => StepCondition,
): StepCondition {
  switch (condition.type) {
    case 'ok':
    case 'error':
      return map(condition.type, condition.step);
    case 'not':
      return { type: 'not', cond: mapSteps(condition.cond, map) };
    case 'and':
    case 'or':
      return { type: condition.type, conds: condition.conds.map(cond => mapSteps(cond, map)) };
    case 'is_autocommit':
      return condition;
    default:
      return condition satisfies never;
  }
}
