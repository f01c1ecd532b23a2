import { classifyStep, splitScript, type WireStepsOperation } from '@onewriter/protocol';
import type { StepsProgress } from './run-steps.ts';

/** Whether foreign keys are off, outside a transaction, after the steps that are done. */
export function areForeignKeysOff(
  sql: readonly string[],
  op: WireStepsOperation,
  { q, x }: StepsProgress = NONE,
): boolean {
  const texts: string[] = [];
  for (const [index, { s, x: isScript }] of op.q.slice(0, q.length + 1).entries()) {
    const text = sql[s] ?? '';
    const isDone = index < q.length;
    if (isScript === 1) texts.push(...splitScript(text).slice(0, isDone ? undefined : x));
    else if (isDone && q[index]!.startsWith('{"r"')) texts.push(text);
  }
  let off = op.fk === 0;
  for (const text of texts) {
    if (!/foreign_keys/i.test(text)) continue;
    const step = classifyStep(text);
    if (step.kind === 'session' && step.pragma === 'foreign_keys') off = !step.usual;
  }
  return off;
}

const NONE: StepsProgress = Object.freeze({ q: [], x: 0 });
