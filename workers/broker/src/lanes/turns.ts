import { Heap } from './heap.ts';

/*
 * Decides whose turn it is: the one that waited longest; at each fourth turn the one with the newest work, if it has only new
 * work. So a tenant without a backlog does not wait for a whole round of those with one.
 *
 *   add ──▶ in line (longest waiting first) ────────────────────▶ next: three of four turns
 *     └──▶ overtakes later ──its time comes──▶ overtakes (newest first) ──▶ next: one of four turns
 *
 * Not more often: of tenants that return as soon as they were served the newest would otherwise get most turns, and the others
 * would wait longer than in a plain line. For the same reason a tenant overtakes only some time after its last turn.
 *
 * Newest is the one with the newest work, not the one added last: after a start thousands of tenants are added within seconds,
 * in any order, and a tenant that moves to another lane is added there again. The oldest work does not count: a caller that
 * waits now would otherwise wait for a whole round because of one earlier write.
 */

/** One turn in this many goes to the newest. */
const NEWEST_EVERY = 4;

/** A tenant that had a turn stands in line for this long before it may overtake. */
export const OVERTAKE_PAUSE_MS = 250;

/** Settings of {@link Turns.add}. */
export interface TurnOptions {
  /** When it may begin to overtake, on the monotonic clock, ms; undefined: it has a backlog, and stands in line. */
  readonly overtakesAt: number | undefined;
  /** When it began to wait, on the monotonic clock, ms; default: now. */
  readonly waitsSince?: number | undefined;
  /** When its newest work arrived, ms by any one clock; default: before all others. */
  readonly addedAt?: number | undefined;
}

interface Place<Item> {
  readonly item: Item;
  readonly overtakesAt: number;
  readonly waitsSince: number;
  readonly addedAt: number;
  /** Rises with each item added. */
  readonly order: number;
  gone: boolean;
}

/** Items that wait for their turn, each at most once. */
export class Turns<Item> {
  readonly #places = new Map<Item, Place<Item>>();
  readonly #line = new Heap<Place<Item>>((a, b) => a.waitsSince - b.waitsSince || a.order - b.order);
  readonly #later = new Heap<Place<Item>>((a, b) => a.overtakesAt - b.overtakesAt || a.order - b.order);
  /** Those that may overtake now. */
  readonly #overtaking = new Heap<Place<Item>>((a, b) => b.addedAt - a.addedAt || b.order - a.order);
  #added = 0;
  #turn = 0;

  get size(): number {
    return this.#places.size;
  }

  has(item: Item): boolean {
    return this.#places.has(item);
  }

  /** In order of arrival. */
  [Symbol.iterator](): IterableIterator<Item> {
    return this.#places.keys();
  }

  /** @throws Error where it waits already */
  add(item: Item, { overtakesAt, waitsSince = performance.now(), addedAt = 0 }: TurnOptions): void {
    if (this.#places.has(item)) throw new Error('It already waits for its turn.');
    const place = {
      ...{ item, waitsSince, addedAt, gone: false },
      overtakesAt: overtakesAt ?? Number.POSITIVE_INFINITY,
      order: ++this.#added,
    };
    this.#places.set(item, place);
    this.#line.push(place);
    if (overtakesAt !== undefined) this.#later.push(place);
  }

  /** More work arrived for an item that waits: it keeps its place in line, and may be the newest. */
  renew(item: Item, { overtakesAt, addedAt = 0 }: Pick<TurnOptions, 'overtakesAt' | 'addedAt'>): void {
    const place = this.#places.get(item);
    if (place === undefined || place.overtakesAt === Number.POSITIVE_INFINITY || addedAt <= place.addedAt)
      return;
    place.gone = true;
    const renewed = {
      ...{ ...place, addedAt, gone: false },
      overtakesAt: overtakesAt ?? Number.POSITIVE_INFINITY,
    };
    this.#places.set(item, renewed);
    this.#line.push(renewed);
    if (overtakesAt !== undefined) this.#later.push(renewed);
    this.#dropGone();
  }

  /** Removes and returns the item whose turn it is. @param now on the monotonic clock, ms */
  next(now: number): Item | undefined {
    const place = this.#choose(now);
    if (place === undefined) return undefined;
    this.#turn = (this.#turn + 1) % NEWEST_EVERY;
    this.delete(place.item);
    return place.item;
  }

  /** @returns whether it waited */
  delete(item: Item): boolean {
    const place = this.#places.get(item);
    if (place === undefined) return false;
    place.gone = true;
    this.#places.delete(item);
    this.#dropGone();
    return true;
  }

  /** Removes and returns all, in order of arrival. */
  removeAll(): readonly Item[] {
    const items = [...this.#places.keys()];
    this.#places.clear();
    this.#clear();
    return items;
  }

  #choose(now: number): Place<Item> | undefined {
    for (let place = first(this.#later); place !== undefined; place = first(this.#later)) {
      if (place.overtakesAt > now) break;
      this.#later.shift();
      this.#overtaking.push(place);
    }
    if (this.#turn === NEWEST_EVERY - 1) {
      const newest = first(this.#overtaking);
      if (newest !== undefined) return newest;
    }
    return first(this.#line);
  }

  /** Removed items leave a heap when they reach the front, or all at once where most of its items are removed ones. */
  #dropGone(): void {
    for (const heap of [this.#line, this.#later, this.#overtaking]) {
      if (heap.size > 2 * this.#places.size + 16 || this.#places.size === 0) heap.keep(({ gone }) => !gone);
    }
  }

  #clear(): void {
    this.#line.clear();
    this.#later.clear();
    this.#overtaking.clear();
  }
}

/** The first item that was not removed. */
function first<Item>(heap: Heap<Place<Item>>): Place<Item> | undefined {
  while (heap.first?.gone) heap.shift();
  return heap.first;
}
