/*
 * Whose turn it is, where many wait: the one that waited longest; at each fourth turn the one that came last, if it only has
 * new work. So a tenant without a backlog does not wait for a whole round of those that have one.
 *
 *   add ──▶ in line (oldest first) ─────────────────────────────▶ next: three of four turns
 *     └──▶ overtakes later ──its time comes──▶ overtakes (newest first) ──▶ next: one of four turns
 *
 * Not more often: of tenants that come back as soon as they were served the newest would otherwise have most turns, and the
 * others wait longer than in a plain line. For the same reason a tenant overtakes only some time after its last turn.
 */

/** One of so many turns is of the newest. */
const NEWEST_EVERY = 4;

/** A tenant that had a turn stands in line for this long before it may overtake. */
export const OVERTAKE_PAUSE_MS = 250;

/** Settings of {@link Turns.add}. */
export interface TurnOptions {
  /** From when on it may overtake, on the monotonic clock, ms; undefined: it has a backlog, and stands in line. */
  readonly overtakesAt: number | undefined;
}

interface Place<Item> {
  readonly item: Item;
  readonly overtakesAt: number;
  gone: boolean;
}

/** Items that wait for their turn, each at most once. */
export class Turns<Item> {
  readonly #places = new Map<Item, Place<Item>>();
  readonly #line = new Line<Item>();
  /** Those that may overtake later, in the order in which they came. */
  readonly #later = new Line<Item>();
  /** Those that may overtake now, the newest last. */
  #overtaking: Place<Item>[] = [];
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
  add(item: Item, { overtakesAt }: TurnOptions): void {
    if (this.#places.has(item)) throw new Error('It waits for its turn already.');
    const place = { item, overtakesAt: overtakesAt ?? Number.POSITIVE_INFINITY, gone: false };
    this.#places.set(item, place);
    this.#line.push(place);
    if (overtakesAt !== undefined) this.#later.push(place);
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
    // What is gone is dropped when it is at an end of its list; an empty one holds nothing on.
    if (this.#places.size === 0) this.#clear();
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
    for (let place = this.#later.first; place !== undefined; place = this.#later.first) {
      if (place.overtakesAt > now) break;
      this.#later.shift();
      this.#overtaking.push(place);
    }
    while (this.#overtaking.at(-1)?.gone) this.#overtaking.pop();
    if (this.#turn === NEWEST_EVERY - 1) {
      const newest = this.#overtaking.pop();
      if (newest !== undefined) return newest;
    }
    // Those that were served in line are in the middle: dropped when they are the most.
    if (this.#overtaking.length > 2 * this.#places.size + 16) {
      this.#overtaking = this.#overtaking.filter(({ gone }) => !gone);
    }
    return this.#line.first;
  }

  #clear(): void {
    this.#line.clear();
    this.#later.clear();
    this.#overtaking = [];
  }
}

/** Places, oldest first; those that are gone are skipped. */
class Line<Item> {
  #places: Place<Item>[] = [];
  #first = 0;

  push(place: Place<Item>): void {
    this.#places.push(place);
  }

  get first(): Place<Item> | undefined {
    while (this.#places[this.#first]?.gone) this.shift();
    return this.#places[this.#first];
  }

  shift(): void {
    this.#first++;
    // Moving what is left costs as much as was shifted since the last time.
    if (this.#first > 1_024 && this.#first * 2 > this.#places.length) {
      this.#places = this.#places.slice(this.#first);
      this.#first = 0;
    }
  }

  clear(): void {
    this.#places = [];
    this.#first = 0;
  }
}
