import { backOffMs } from '@onewriter/protocol';

/** First and longest pause before a restart, and the life after which a process counts as healthy again. */
export const BACK_OFF = Object.freeze({ firstMs: 100, maxMs: 10_000, healthyAfterMs: 30_000 });

/** The pause before the next start after `failures` (1, 2, …) in a row. */
export function restartDelayMs(failures: number): number {
  return backOffMs(failures, BACK_OFF);
}
