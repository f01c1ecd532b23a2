import { PACKS_OF_LEVEL, type PackId } from '../format/entry.ts';

/*
 * Packs of level 0 are numbered from 1 without a hole. A pack of a higher level stands for a block of them, and is numbered from 1,
 * too; so names are computed, and stores are never listed:
 *
 *   level 1   1: 1–32      2: 33–64     …
 *   level 2   1: 1–512                        …
 *   level 3   1: 1–4,096                               …
 */

/** The numbers of level 0 that a pack stands for. */
export function numbersOf({ level, number }: PackId): { readonly first: number; readonly last: number } {
  const size = PACKS_OF_LEVEL[level];
  return { first: (number - 1) * size + 1, last: number * size };
}

/** The packs of the level below that a pack was made of; none at level 0. */
export function childrenOf(pack: PackId): readonly PackId[] {
  if (pack.level === 0) return [];
  const level = (pack.level - 1) as PackId['level'];
  const count = PACKS_OF_LEVEL[pack.level] / PACKS_OF_LEVEL[level];
  return Array.from({ length: count }, (_, index) => ({
    level,
    number: (pack.number - 1) * count + index + 1,
  }));
}

/** The number of the last pack of level 0 that each level covers. */
export type Covered = Readonly<Record<1 | 2 | 3, number>>;

/** The packs of a level whose numbers all lie from `from` to `to`, both included. */
export function* packsWithin(level: PackId['level'], from: number, to: number): Iterable<PackId> {
  const size = PACKS_OF_LEVEL[level];
  for (let number = Math.ceil((from - 1) / size) + 1; number * size <= to; number++) yield { level, number };
}

/** The fewest packs that stand for the numbers from `from` to `to`, in order. */
export function packsFor(from: number, to: number, covered: Covered): readonly PackId[] {
  const packs: PackId[] = [];
  for (let next = from; next <= to; ) {
    const pack = largestAt(next, to, covered);
    packs.push(pack);
    next = numbersOf(pack).last + 1;
  }
  return packs;
}

function largestAt(first: number, to: number, covered: Covered): PackId {
  for (const level of [3, 2, 1] as const) {
    const size = PACKS_OF_LEVEL[level];
    const last = first + size - 1;
    if ((first - 1) % size === 0 && last <= covered[level] && last <= to)
      return { level, number: last / size };
  }
  return { level: 0, number: first };
}
