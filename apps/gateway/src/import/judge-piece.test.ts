import { ERROR_CODES, type ErrorCode, OnewriterError } from '@onewriter/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judgePiece } from './judge-piece.ts';

const CALM = { stopped: false, halted: false, failingMs: 0 };
const rows = (count: number) => Array.from({ length: count }, (_, line) => ({ line: line + 1 }));
const judge = (code: ErrorCode, count = 10, situation: Partial<typeof CALM> = {}) =>
  judgePiece(rows(count), new OnewriterError(code, 'why'), { ...CALM, ...situation });

describe('judgePiece', () => {
  it('looks for the row that is at fault, in halves, and alone where a write ends the broker', () => {
    expect(judge('CONSTRAINT_VIOLATION', 9)).toEqual({ type: 'split', rows: 5 });
    expect(judge('CONSTRAINT_VIOLATION', 1)).toEqual({ type: 'reject' });
    expect(judge('STATEMENT_TIMEOUT', 9)).toEqual({ type: 'split', rows: 1 });
    for (const code of ['STATEMENT_TIMEOUT', 'STATEMENT_TOO_COSTLY'] as const)
      expect(judge(code, 1)).toMatchObject({ type: 'fail', error: { code, message: 'Line 1: why' } });
  });

  it('tries again what may succeed, for a minute', () => {
    for (const code of ['DATABASE_BUSY', 'OUTCOME_UNKNOWN'] as const) {
      expect(judge(code)).toEqual({ type: 'again' });
      expect(judge(code, 10, { failingMs: 60_000 })).toMatchObject({ type: 'fail', error: { code } });
    }
  });

  it('asks what became of a piece also where nothing more is sent', () => {
    expect(judge('OUTCOME_UNKNOWN', 10, { halted: true })).toEqual({ type: 'again' });
    expect(judge('DATABASE_BUSY', 10, { halted: true })).toMatchObject({ type: 'fail' });
  });

  it('ends with every error where the import is to stop, and always with a key that was used before', () => {
    const codes = Object.keys(ERROR_CODES) as ErrorCode[];
    fc.assert(
      fc.property(fc.constantFrom(...codes), fc.integer({ min: 1, max: 500 }), (code, count) => {
        expect(judge(code, count, { stopped: true }).type).toBe('fail');
        expect(judge('IDEMPOTENCY_KEY_REUSED', count).type).toBe('fail');
        // Smaller pieces at each split: it ends.
        const verdict = judge(code, count);
        if (verdict.type === 'split') expect(verdict.rows).toBeLessThan(count);
      }),
    );
  });
});
