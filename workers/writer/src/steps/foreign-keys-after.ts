import { classifyStep, splitScript, type WireError, type WireStepsOperation } from '@onewriter/protocol';
import type { StepsProgress } from './run-steps.ts';

/** Whether foreign keys are off, outside a transaction, after the steps that are done. */
export function areForeignKeysOff(
  sql: readonly string[],
  op: WireStepsOperation,
  { q, x }: StepsProgress = NONE,
): boolean {
  let off = op.fk === 0;
  const look = (text: string) => {
    if (!/foreign_keys/i.test(text)) return;
    const step = classifyStep(text);
    if (step.kind === 'session' && step.pragma === 'foreign_keys') off = !step.usual;
  };
  for (const [index, { s, x: isScript, e: refused }] of op.q.slice(0, q.length + 1).entries()) {
    const text = sql[s] ?? '';
    const isDone = index < q.length;
    if (refused !== undefined || (isDone && q[index] === SKIPPED)) continue;
    if (isScript === 1)
      splitScript(text)
        .slice(0, isDone ? failedAt(q[index]!) : x)
        .forEach(look);
    else if (isDone && isOk(q[index]!)) look(text);
  }
  return off;
}

const NONE: StepsProgress = Object.freeze({ q: [], x: 0 });
const SKIPPED = '0';

function isOk(result: string): boolean {
  return result.startsWith('{"r"');
}

/** The statement that a script ended at. undefined: all have run, though what they changed may be undone */
function failedAt(result: string): number | undefined {
  return isOk(result) ? undefined : (JSON.parse(result) as { e: WireError }).e.details?.statementIndex;
}
