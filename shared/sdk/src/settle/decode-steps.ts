import {
  fromWireError,
  type WireOperationResult,
  type WireStepResult,
  type WireStepsResult,
} from '@onewriter/protocol';
import type { StepResult, StepsAnswer } from '../steps-types.ts';
import { decodeStatement } from './decode-result.ts';

const EXACT_ARRAYS = { mode: 'array', safeIntegers: true } as const;

/** Decodes the result of a request of steps. @param commitSeq of the job. */
export function decodeSteps(result: WireOperationResult, commitSeq: number): StepsAnswer {
  const { q, a, tx, fk, seq, in: incarnation } = result as WireStepsResult;
  return {
    results: q.map(decodeStep),
    autocommit: a === 1,
    ...(tx === undefined ? {} : { transaction: { id: tx.id, expiresAt: tx.until } }),
    ...(fk === undefined ? {} : { foreignKeys: fk === 1 ? 'on' : 'off' }),
    ...(seq === undefined ? {} : { commitSeq: seq === 0 ? commitSeq : seq }),
    ...(incarnation === undefined ? {} : { incarnation }),
  };
}

function decodeStep(step: WireStepResult): StepResult {
  if (step === 0) return { type: 'skipped' };
  if ('e' in step) {
    const { code, message, details } = fromWireError(step.e);
    const { sqliteCode, statementIndex, row } = details;
    return {
      type: 'error',
      error: {
        code,
        message,
        ...(sqliteCode === undefined ? {} : { sqliteCode }),
        ...(statementIndex === undefined ? {} : { statementIndex }),
        ...(typeof row === 'number' ? { row } : {}),
      },
    };
  }
  const { changes, lastInsertRowid, columns, rows } = decodeStatement(step.r, 0, EXACT_ARRAYS);
  return {
    type: 'ok',
    columns: (columns ?? []).map((name, index) => ({ name, decltype: step.d?.[index] ?? null })),
    rows: rows ?? [],
    changes,
    lastInsertRowid: lastInsertRowid === 0 ? null : lastInsertRowid,
    durationMs: step.ms,
    ...(step.ro === undefined ? {} : { readonly: step.ro === 1 }),
  };
}
