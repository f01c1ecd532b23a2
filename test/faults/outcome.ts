import { OnewriterError } from '@onewriter/sdk';
import type { GivenAnswer } from './journal.ts';

/** The outcome of a write that an error of the SDK stands for. */
export function answerOf(error: unknown): GivenAnswer {
  if (!(error instanceof OnewriterError)) throw error;
  const { code, retryable, details } = error;
  return code === 'OUTCOME_UNKNOWN'
    ? { outcome: 'unknown', code, receiptId: details.receiptId }
    : { outcome: 'failed', code, retryable, retryAfterMs: details.retryAfterMs };
}
