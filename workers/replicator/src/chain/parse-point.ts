import { OnewriterError } from '@onewriter/protocol';
import type { Point } from './point.ts';

/** Milliseconds of each unit of `5 minutes ago`. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ...([
    ['second', 1_000],
    ['minute', 60_000],
    ['hour', 3_600_000],
    ['day', 86_400_000],
    ['week', 604_800_000],
  ] as const),
  ...([
    ['ms', 1],
    ['s', 1_000],
    ['m', 60_000],
    ['min', 60_000],
    ['h', 3_600_000],
    ['d', 86_400_000],
    ['w', 604_800_000],
  ] as const),
]);

const AGO = /^(\d+(?:\.\d+)?)\s*([a-z]+)\s+ago$/i;
/** A date without a zone would mean another moment on another machine. */
const ISO = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)$/;

/**
 * A point in a tenant's life, as a person names it: `newest`, the number of a commit, an ISO time with its zone, or `5 minutes ago`.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function parsePoint(text: string, now: number = Date.now()): Point {
  const trimmed = text.trim();
  if (trimmed === 'newest') return { kind: 'newest' };
  if (/^\d+$/.test(trimmed)) return { kind: 'commitSeq', commitSeq: toSafe(trimmed) };
  const [, amount, unit] = AGO.exec(trimmed) ?? [];
  const unitMs = unit === undefined ? undefined : msOf(unit.toLowerCase());
  if (amount !== undefined && unitMs !== undefined)
    return { kind: 'time', ms: Math.round(now - Number(amount) * unitMs) };
  const ms = ISO.test(trimmed) ? Date.parse(trimmed.replace(' ', 'T')) : Number.NaN;
  if (Number.isNaN(ms)) {
    throw wrongPoint(
      `A point is the number of a commit, a time as 2026-11-30T12:00:00Z, "5 minutes ago" or newest, and not "${text}".`,
    );
  }
  if (ms > now) throw wrongPoint(`The point ${text} is in the future.`);
  return { kind: 'time', ms };
}

/** Of a unit, also of its plural. A short one has none: `ms` are no minutes. */
function msOf(unit: string): number | undefined {
  return UNITS.get(unit) ?? (unit.length > 3 ? UNITS.get(unit.replace(/s$/, '')) : undefined);
}

function toSafe(digits: string): number {
  const value = Number(digits);
  if (!Number.isSafeInteger(value)) throw wrongPoint(`${digits} is no number of a commit.`);
  return value;
}

function wrongPoint(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
