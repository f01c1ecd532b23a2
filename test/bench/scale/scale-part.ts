import type { Environment } from '../environment.ts';

/** How far a run goes, and how long it measures. */
export interface ScaleLimits {
  readonly maxTenants: number;
  readonly maxFileMib: number;
  readonly importRows: number;
  /** Only the last step of a part: to see whether it works at its full size. */
  readonly lastStepOnly?: boolean | undefined;
  /** Length of a measured turn, in ms, and how many there are of each point. */
  readonly measureMs: number;
  readonly rounds: number;
  /** How long a load is warmed before its first turn, in ms. */
  readonly warmupMs: number;
}

/** One line of a plot. */
export interface ScaleLine {
  readonly label: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** Whether it is a cost that has to stay the same. */
  readonly isFlat: boolean;
  /** Why it does not, where that is known. */
  readonly why?: string | undefined;
}

/** One plot. */
export interface ScaleCurve {
  readonly id: string;
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly lines: readonly ScaleLine[];
}

/** Something that has to be reached, or must not be exceeded. */
export interface ScaleTarget {
  readonly what: string;
  readonly asked: string;
  readonly measured: string;
  readonly passed: boolean;
}

/** What a part found: plots, and single figures for the table of sizes. */
export interface ScaleResult {
  readonly curves: readonly ScaleCurve[];
  readonly targets?: readonly ScaleTarget[] | undefined;
  readonly facts: Readonly<Record<string, number>>;
}

/** What a part may use. */
export interface ScaleContext {
  /** Servers for this part alone; stopped when the part ends. */
  readonly environment: Environment;
  readonly limits: ScaleLimits;
  /** A line for people, while it is measured. */
  readonly say: (line: string) => void;
}

/** Something that grows. */
export interface ScalePart {
  readonly id: string;
  readonly title: string;
  measure(context: ScaleContext): Promise<ScaleResult>;
}

/** The most that a cost may grow along a line. */
export const MAX_GROWTH = 1.3;

/**
 * How much a line grows at most from any of its points to a later one: 1 where it only falls, which is no cost of scale (the
 * first points of a process that has just started are dear). NaN of a line without points.
 */
export function growthOf({ points }: Pick<ScaleLine, 'points'>): number {
  let least = Number.POSITIVE_INFINITY;
  let growth = points.length === 0 ? Number.NaN : 1;
  for (const { y } of points) {
    least = Math.min(least, y);
    growth = Math.max(growth, y / least);
  }
  return growth;
}

/** Those of `steps` up to a limit, and the limit. @param lastOnly only the limit */
export function stepsUpTo(limit: number, steps: readonly number[], lastOnly = false): number[] {
  return [...steps.filter(step => step < limit && !lastOnly), limit];
}
