/*
 * All writes of a batch that are still to run stand in one row, numbered from 0. Normally they are one range and one
 * transaction. A write can spoil that for the others. Then the range is rolled back and cut:
 *
 *   ended the transaction with a constraint (OR ROLLBACK, RAISE(ROLLBACK)):   [ before and it | after ]
 *       it has failed for good and is not run again; the writes before it are.
 *   ended it, out of disk or memory:                                         [ before | it | after ]
 *       alone it may fit, or fails for good.
 *   COMMIT refused, and the write to blame is unknown:                        [ first half | second half ]
 *       until it is alone, and has failed for good.
 *   COMMIT refused by a virtual table that a failed write had made:           the same, without the failed writes
 *
 *   foreign keys are checked at COMMIT in this file:                         [ one | one | one … ]
 *       because the check covers the whole transaction, and each caller's write is to be judged alone.
 *
 *   steps that need transactions of their own:                               [ before | they | after ]
 *   a script or transaction that switches foreign keys off, or defers them:   the same
 */

/** A range of writes, the second exclusive. */
export type Range = readonly [from: number, to: number];

/** Why a range was rolled back. */
export type Setback =
  /** @property final the write failed for good, whatever runs beside it. */
  | { readonly kind: 'ended'; readonly at: number; readonly final: boolean }
  | { readonly kind: 'own'; readonly at: number }
  | { readonly kind: 'deferred-keys' }
  /**
   * @property undone writes that failed and left nothing, where a virtual table of theirs can be what refuses the COMMIT.
   * @property steps the range is one write, and it can still run in transactions of its own.
   */
  | { readonly kind: 'commit-refused'; readonly undone: readonly number[]; readonly steps: boolean };

/** What follows from a setback. */
export interface Cut {
  /** To try instead, in order; none is empty. */
  readonly ranges: readonly Range[];
  /** Writes that have failed for good. */
  readonly failed: readonly number[];
  /** A write that gets transactions of its own. */
  readonly own?: number | undefined;
}

/** Cuts a range that was rolled back. Each cut makes smaller ranges, or decides about a write: so all of them end. */
export function cutRange([from, to]: Range, setback: Setback): Cut {
  const isOne = to - from === 1;
  switch (setback.kind) {
    case 'deferred-keys':
      return { ranges: Array.from({ length: to - from }, (_, n) => [from + n, from + n + 1]), failed: [] };
    case 'own':
      return { ranges: singledOut(from, to, setback.at), failed: [], own: setback.at };
    case 'ended': {
      const { at, final } = setback;
      if (!isOne && !final) return { ranges: singledOut(from, to, at), failed: [] };
      return { ranges: filled([from, at + 1], [at + 1, to]), failed: [at] };
    }
    case 'commit-refused': {
      if (setback.undone.length > 0) return { ranges: [[from, to]], failed: setback.undone };
      if (isOne && setback.steps) return { ranges: [[from, to]], failed: [], own: from };
      if (isOne) return { ranges: [[from, to]], failed: [from] };
      const middle = from + Math.floor((to - from) / 2);
      return { ranges: filled([from, middle], [middle, to]), failed: [] };
    }
    default:
      return setback satisfies never;
  }
}

/**
 * Tries ranges in order until every write of `all` is committed.
 * @param attempt returns the first write that it did not commit, or how to cut the range that it rolled back.
 */
export function commitInRanges(all: Range, attempt: (range: Range) => number | Cut): void {
  const ranges = filled(all);
  for (let range = ranges.pop(); range !== undefined; range = ranges.pop()) {
    const result = attempt(range);
    const rest = typeof result === 'number' ? filled([result, range[1]]) : result.ranges;
    ranges.push(...rest.toReversed());
  }
}

function singledOut(from: number, to: number, at: number): Range[] {
  return filled([from, at], [at, at + 1], [at + 1, to]);
}

function filled(...ranges: Range[]): Range[] {
  return ranges.filter(([from, to]) => from < to);
}
