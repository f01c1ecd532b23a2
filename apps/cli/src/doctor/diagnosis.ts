/**
 * - `error`: writes are lost, refused or held up, or will be.
 * - `warning`: look at it soon.
 * - `note`: what people may want to know.
 * - `skipped`: could not be looked at.
 */
export type DiagnosisLevel = 'ok' | 'note' | 'warning' | 'error' | 'skipped';

/** What one check of `onewriter doctor` found. */
export interface Diagnosis {
  /** Short name, for programs; stable. */
  readonly check: string;
  readonly level: DiagnosisLevel;
  readonly found: string;
  /** What to do; null where there is nothing to do. */
  readonly next: string | null;
}

export function ok(check: string, found: string): Diagnosis {
  return { check, level: 'ok', found, next: null };
}

export function bad(
  level: 'note' | 'warning' | 'error',
  check: string,
  found: string,
  next: string | null,
): Diagnosis {
  return { check, level, found, next };
}

export function skipped(check: string, found: string): Diagnosis {
  return { check, level: 'skipped', found, next: null };
}
