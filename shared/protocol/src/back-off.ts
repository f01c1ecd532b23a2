/** Bounds of {@link backOffMs}, in ms. */
export interface BackOff {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * How long to wait before the next attempt: doubles from `firstMs` to `maxMs` with each failure, and is between half of that and
 * all of it, so that many that failed at the same moment (clients of a Redis that went away) do not come back at the same moment.
 *
 * @param failures in a row, from 1
 * @param random from 0 up to 1
 */
export function backOffMs(failures: number, { firstMs, maxMs }: BackOff, random = Math.random()): number {
  const whole = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.max(1, Math.round(whole * (0.5 + random / 2)));
}
