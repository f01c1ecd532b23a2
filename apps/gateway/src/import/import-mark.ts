import { setTimeout as pause } from 'node:timers/promises';
import { type ImportMark, NO_MARK, type OnewriterError } from '@onewriter/protocol';
import { asOnewriterError } from '../http/error-response.ts';
import type { ImportOptions } from './import-options.ts';

/** How long a request is retried after a temporary error. */
export const RETRY_FOR_MS = 60_000;
const DEFAULT_RETRY_AFTER_MS = 100;

/**
 * Asks the writer how far an import is, until there is an answer.
 * @param isOver whether one attempt is enough
 * @returns also the commit of the answer: everything in front of the mark is older
 */
export async function askMark(
  { tenant, idempotencyKey, fingerprint, writeTimeoutMs, stop, gone }: ImportOptions,
  isOver: () => boolean,
): Promise<{ readonly mark: ImportMark; readonly commitSeq: number }> {
  const since = performance.now();
  const question = { key: idempotencyKey, fingerprint, at: -1, rows: [], hash: NO_MARK.h, maxRefused: 0 };
  for (;;) {
    try {
      const result = await tenant.importRows(question, { timeoutMs: writeTimeoutMs, signal: gone });
      if (result.type === 'elsewhere') return result;
      throw new TypeError('A piece without a place was applied.');
    } catch (thrown) {
      const error = asOnewriterError(thrown);
      const again = error.retryable || error.code === 'OUTCOME_UNKNOWN';
      const isEnough = stop.aborted || gone.aborted || isOver();
      if (!again || isEnough || performance.now() - since >= RETRY_FOR_MS) throw error;
      await pauseAfter(error, gone);
    }
  }
}

/** Waits as long as an error says, or until the signal fires. */
export async function pauseAfter(error: OnewriterError, signal: AbortSignal): Promise<void> {
  try {
    await pause(error.details.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS, undefined, { signal });
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  }
}
