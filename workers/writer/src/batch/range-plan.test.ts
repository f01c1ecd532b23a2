import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Cut, commitInRanges, cutRange, type Range, type Setback } from './range-plan.ts';

/** How a write behaves. */
const KINDS = [
  'fine',
  'ends with a constraint',
  'fits alone',
  'never fits',
  'refuses the commit',
  'steps that refuse the commit',
  'own transactions',
  'failed with a virtual table',
] as const;
type Kind = (typeof KINDS)[number];

/** Tries for each write: alone, found by halves, decided, and again. */
const MAX_TRIES = 4;

const FAILS: ReadonlySet<Kind> = new Set([
  'ends with a constraint',
  'never fits',
  'refuses the commit',
  'failed with a virtual table',
]);

const range = fc
  .tuple(fc.nat(50), fc.integer({ min: 1, max: 40 }))
  .map(([from, length]) => [from, from + length] as const);

const setback = ([from, to]: Range): fc.Arbitrary<Setback> => {
  const at = fc.integer({ min: from, max: to - 1 });
  return fc.oneof(
    fc.record({ kind: fc.constant('ended' as const), at, final: fc.boolean() }),
    fc.record({ kind: fc.constant('own' as const), at }),
    fc.constant({ kind: 'deferred-keys' as const }),
    fc.record({
      kind: fc.constant('commit-refused' as const),
      undone: fc.uniqueArray(at, { maxLength: 3 }),
      steps: fc.boolean(),
    }),
  );
};

describe('a range that was rolled back', () => {
  it('is cut into ranges that have the same writes in the same order', () => {
    fc.assert(
      fc.property(
        range.chain(whole => fc.tuple(fc.constant(whole), setback(whole))),
        ([whole, reason]) => {
          const { ranges } = cutRange(whole, reason);
          expect(ranges.flatMap(numbers)).toEqual(numbers(whole));
          expect(ranges.every(([from, to]) => from < to)).toBe(true);
        },
      ),
    );
  });

  it('becomes smaller, or a write of it is decided', () => {
    fc.assert(
      fc.property(
        range
          .filter(([from, to]) => to - from > 1)
          .chain(whole => fc.tuple(fc.constant(whole), setback(whole))),
        ([whole, reason]) => {
          const { ranges, failed, own } = cutRange(whole, reason);
          expect(ranges.length > 1 || failed.length > 0 || own !== undefined).toBe(true);
        },
      ),
    );
  });

  it.each([
    [
      'an end by a constraint',
      { kind: 'ended', at: 3, final: true },
      [
        [0, 4],
        [4, 8],
      ],
      [3],
    ],
    [
      'an end for lack of memory',
      { kind: 'ended', at: 3, final: false },
      [
        [0, 3],
        [3, 4],
        [4, 8],
      ],
      [],
    ],
    [
      'a refused commit',
      { kind: 'commit-refused', undone: [], steps: false },
      [
        [0, 4],
        [4, 8],
      ],
      [],
    ],
    [
      'a refused commit after undone writes',
      { kind: 'commit-refused', undone: [2, 5], steps: false },
      [[0, 8]],
      [2, 5],
    ],
  ] as [string, Setback, Range[], number[]][])('is cut after %s', (_, reason, ranges, failed) => {
    expect(cutRange([0, 8], reason)).toEqual({ ranges, failed });
  });
});

describe('ranges of a batch', () => {
  it('commit every write once and in order, and fail only those that cannot be committed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...KINDS), { maxLength: 40 }),
        fc.option(fc.nat(40), { nil: undefined }),
        (kinds, keysFrom) => {
          const file = new ModelFile(kinds, keysFrom);

          commitInRanges([0, kinds.length], whole => file.attempt(whole));

          expect(file.committed).toEqual([...kinds.keys()]);
          expect([...file.failed].sort((a, b) => a - b)).toEqual(
            [...kinds.keys()].filter(at => FAILS.has(kinds[at]!)),
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  it('need one transaction where no write spoils it', () => {
    const file = new ModelFile(Array.from({ length: 100 }, () => 'fine'));
    commitInRanges([0, 100], whole => file.attempt(whole));
    expect(file.attempts).toBe(1);
  });

  it('find one write that refuses the commit among many with two tries for each half', () => {
    fc.assert(
      fc.property(fc.nat(127), bad => {
        const file = new ModelFile(
          Array.from({ length: 128 }, (_, at) => (at === bad ? 'refuses the commit' : 'fine')),
        );
        commitInRanges([0, 128], whole => file.attempt(whole));
        expect(file.attempts).toBeLessThanOrEqual(2 * Math.log2(128) + 2);
      }),
    );
  });

  it('are not tried where there is no write', () => {
    commitInRanges([0, 0], () => {
      throw new Error('There is nothing to try.');
    });
  });
});

/** A file as a batch sees it: a range is committed, up to its first deferred key, or rolled back for a reason. */
class ModelFile {
  readonly committed: number[] = [];
  readonly failed = new Set<number>();
  attempts = 0;
  readonly #kinds: readonly Kind[];
  /** The write that makes the first deferred key. */
  readonly #keysFrom: number | undefined;
  readonly #own = new Set<number>();

  constructor(kinds: readonly Kind[], keysFrom?: number) {
    this.#kinds = kinds;
    this.#keysFrom = keysFrom;
  }

  attempt(whole: Range): number | Cut {
    // A plan that does not end has to fail, not to hang.
    if (++this.attempts > MAX_TRIES * this.#kinds.length) throw new Error('The ranges do not end.');
    const [from, to] = whole;
    const reason = this.#run(from, to);
    if (typeof reason === 'number') {
      for (let at = from; at < reason; at++) this.committed.push(at);
      return reason;
    }
    const cut = cutRange(whole, reason);
    if (cut.own !== undefined) this.#own.add(cut.own);
    for (const at of cut.failed) {
      expect(this.failed.has(at)).toBe(false);
      this.failed.add(at);
    }
    return cut;
  }

  #run(from: number, to: number): number | Setback {
    const isOne = to - from === 1;
    if (isOne && this.#own.has(from)) return to;
    const keysMade = this.#keysFrom !== undefined && this.committed.length > this.#keysFrom;
    if (!isOne && keysMade) return { kind: 'deferred-keys' };
    let end = to;
    const undone: number[] = [];
    let refused = false;
    for (let at = from; at < end; at++) {
      if (at === this.#keysFrom) end = at + 1;
      if (this.failed.has(at)) continue;
      const kind = this.#kinds[at]!;
      if (kind === 'own transactions') return { kind: 'own', at };
      if (kind === 'ends with a constraint') return { kind: 'ended', at, final: true };
      if (kind === 'never fits' || (kind === 'fits alone' && !isOne))
        return { kind: 'ended', at, final: false };
      if (kind === 'failed with a virtual table') undone.push(at);
      if (kind === 'refuses the commit' || kind === 'steps that refuse the commit') refused = true;
    }
    if (!refused && undone.length === 0) return end;
    return {
      kind: 'commit-refused',
      undone,
      steps: isOne && this.#kinds[from] === 'steps that refuse the commit',
    };
  }
}

function numbers([from, to]: Range): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
