/** A binary heap: returns the first of its items in an order. */
export class Heap<Item> {
  readonly #compare: (a: Item, b: Item) => number;
  #items: Item[] = [];

  /** @param compare as for `Array.sort`; of equal items any may be first */
  constructor(compare: (a: Item, b: Item) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#items.length;
  }

  get first(): Item | undefined {
    return this.#items[0];
  }

  push(item: Item): void {
    const items = this.#items;
    let index = items.push(item) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#compare(items[parent]!, item) <= 0) break;
      items[index] = items[parent]!;
      index = parent;
    }
    items[index] = item;
  }

  /** Removes the first. */
  shift(): Item | undefined {
    const [first] = this.#items;
    const last = this.#items.pop();
    if (last !== undefined && this.#items.length > 0) this.#sink(last, 0);
    return first;
  }

  /** Keeps only the items that `isKept` accepts. */
  keep(isKept: (item: Item) => boolean): void {
    // A sorted array is a heap.
    this.#items = this.#items.filter(isKept).sort(this.#compare);
  }

  clear(): void {
    this.#items = [];
  }

  /** Places an item at `index` or below it. */
  #sink(item: Item, index: number): void {
    const items = this.#items;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#compare(items[child + 1]!, items[child]!) < 0) child++;
      if (this.#compare(item, items[child]!) <= 0) break;
      items[index] = items[child]!;
      index = child;
    }
    items[index] = item;
  }
}
