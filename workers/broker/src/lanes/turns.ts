import { Heap } from './heap.ts';

/*
 * Whose turn it is, where many wait: the one that waited longest; at each fourth turn the one whose work came last, if it only
 * has new work. So a tenant without a backlog does not wait for a whole round of those that have one.
 *
 *   add ──▶ in line (longest waiting first) ────────────────────▶ next: three of four turns
 *     └──▶ overtakes later ──its time comes──▶ overtakes (newest first) ──▶ next: one of four turns
 *
 * Not more often: of tenants that come back as soon as they were served the newest would otherwise have most turns, and the
 * others wait longer than in a plain line. For the same reason a tenant overtakes only some time after its last turn.
 *
 * Newest is whose newest work came last, not who was added last: after a start thousands of tenants are added within seconds, in
 * any order, and a tenant that moves to another lane is added there again. Its oldest work does not count: a caller that waits now
 * would else wait for a whole round because of one write that came before.
 */

/** One of so many turns is of the newest. */
const NEWEST_EVERY = 4;

/** A tenant that had a turn stands in line for this long before it may overtake. */
export const OVERTAKE_PAUSE_MS = 250;

/** Settings of {@link Turns.add}. */
export interface TurnOptions {
  /** From when on it may overtake, on the monotonic clock, ms; undefined: it has a backlog, and stands in line. */
  readonly overtakesAt: number | undefined;
  /** Since when it waits, on the monotonic clock, ms; default: now. */
  readonly waitsSince?: number | undefined;
  /** When its newest work came, ms by any one clock; default: before all others. */
  readonly addedAt?: number | undefined;
}

interface Place<Item> {
  readonly item: Item;
  readonly overtakesAt: number;
  readonly waitsSince: number;
  readonly addedAt: number;
  /** Rises with each that is added. */
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

  /** In the order in which they came. */
  [Symbol.iterator](): IterableIterator<Item> {
    return this.#places.keys();
  }

  /** @throws Error where it waits already */
  add(item: Item, { overtakesAt, waitsSince = performance.now(), addedAt = 0 }: TurnOptions): void {
    if (this.#places.has(item)) throw new Error('It waits for its turn already.');
    const place = {
      ...{ item, waitsSince, addedAt, gone: false },
      overtakesAt: overtakesAt ?? Number.POSITIVE_INFINITY,
      order: ++this.#added,
    };
    this.#places.set(item, place);
    this.#line.push(place);
    if (overtakesAt !== undefined) this.#later.push(place);
  }

  /** More work came for an item that waits: it keeps its place in line, and may be the newest. */
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

  /** @returns the item whose turn it is, which waits no longer. @param now on the monotonic clock, ms */
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

  /** Takes all, in the order in which they came. */
  takeAll(): readonly Item[] {
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

  /** What is gone leaves a heap when it comes to the front, or all at once where it is most of it. */
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

/** The first that is not gone. */
function first<Item>(heap: Heap<Place<Item>>): Place<Item> | undefined {
  while (heap.first?.gone) heap.shift();
  return heap.first;
}
