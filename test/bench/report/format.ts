/** 1234.5 → `1,235`; small numbers keep three digits. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}

/** Milliseconds with their unit, or microseconds. */
export function formatMs(ms: number): string {
  if (!Number.isFinite(ms)) return '-';
  return ms < 0.1 ? `${formatNumber(ms * 1_000)} µs` : `${formatNumber(ms)} ms`;
}

/** A ratio: `12.3x`. */
export function formatRatio(ratio: number): string {
  return Number.isFinite(ratio) ? `${formatNumber(ratio)}x` : '-';
}

/** Passed, failed, or not run. */
export function formatVerdict(passed: boolean | undefined): string {
  return passed === undefined ? 'not run' : passed ? 'pass' : 'FAIL';
}
