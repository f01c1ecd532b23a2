/*
 * Figures as people read them at a glance: three digits that count, a unit, no more.
 */

const NUMBER = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** 1234.5 → `1,235`; below 10 one decimal where it has one. */
export function formatCount(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return value > 0 && value < 9.95 && !Number.isInteger(value) ? value.toFixed(1) : NUMBER.format(value);
}

/** 1536 → `1.5 kB`, with 1 kB = 1024 B, as SQLite's pages are counted. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** 0.42 → `0.42 ms`, 4.2 → `4.2 ms`, 1234 → `1.2 s`. */
export function formatMs(ms: number | null): string {
  if (ms === null) return '–';
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 99.5) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  return formatSpan(ms);
}

/** 1234 → `1.2 s`, 200000 → `3 min 20 s`, the two largest units that say something. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  return twoUnits(Math.round(seconds), [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ]);
}

/** How long ago, in whole steps that do not flicker: `just now`, `12 s ago`, `3 h 5 min ago`. */
export function formatAgo(ms: number): string {
  return ms < 1_500 ? 'just now' : `${formatAge(ms)} ago`;
}

/** As {@link formatSpan} without decimals. */
export function formatAge(ms: number): string {
  return ms < 59_500 ? `${Math.max(0, Math.round(ms / 1_000))} s` : formatSpan(ms);
}

/** 0.123 → `12 %`. */
export function formatShare(share: number): string {
  return `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}

/** `2026-11-21 09:28:51` in UTC: the same on every page, in every log. */
export function formatTime(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? '–' : date.toISOString().slice(0, 19).replace('T', ' ');
}

/** `1 tenant`, `2 tenants`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

function twoUnits(total: number, units: readonly (readonly [number, string])[]): string {
  const first = units.findIndex(([size]) => total >= size);
  const [size, name] = units[first] ?? units.at(-1)!;
  const whole = Math.floor(total / size);
  const next = units[first + 1];
  const rest = next === undefined ? 0 : Math.floor((total % size) / next[0]);
  return rest === 0 ? `${whole} ${name}` : `${whole} ${name} ${rest} ${next![1]}`;
}
