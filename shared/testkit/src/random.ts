/** Pseudo-random numbers that a seed determines. */
export interface Random {
  /** A number from 0 up to 1. */
  next(): number;
  /** An integer from 0 to `below - 1`. */
  integer(below: number): number;
  /** An integer from `min` to `max`, both included. */
  between(min: number, max: number): number;
  /** True once in `times`, on average. */
  oneIn(times: number): boolean;
  /** True with this probability. */
  chance(probability: number): boolean;
  /** One of `items`, which is not empty. */
  pick<T>(items: readonly T[]): T;
  /** One of the keys, each as likely as its weight. */
  weighted<Key extends string>(weights: Readonly<Record<Key, number>>): Key;
}

/** Source: mulberry32 by Tommy Ettinger, public domain: 32 bits of state, good enough to choose moments, victims and data. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (below: number) => Math.floor(next() * below);
  return {
    next,
    integer,
    between: (min, max) => min + integer(max - min + 1),
    oneIn: times => integer(times) === 0,
    chance: probability => next() < probability,
    pick: items => items[integer(items.length)]!,
    weighted: <Key extends string>(weights: Readonly<Record<Key, number>>) => {
      const entries = Object.entries<number>(weights) as [Key, number][];
      let rest = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [key, weight] of entries) {
        rest -= weight;
        if (rest < 0) return key;
      }
      return entries.at(-1)![0];
    },
  };
}

/** A seed for a part of a run, so that what one part draws does not move the others. Source: FNV-1a. */
export function deriveSeed(seed: number, label: string): number {
  let hash = 0x811c9dc5 ^ seed;
  for (const character of label) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
  return hash >>> 0;
}
