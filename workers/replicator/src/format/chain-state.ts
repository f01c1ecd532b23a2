import type { SegmentEntry, SegmentPlace } from './entry.ts';

/**
 * The segments that make a tenant's newest file: one `full` (or `base`) and the `pages` on top of it. Segments are added in the
 * order of their packs. One that does not go on from what is there is ignored: a pack before it is missing, so no caller was
 * answered that its commits are stored, and they are sent again.
 */
export class ChainState {
  /** What makes the newest file, in order. */
  places: readonly SegmentPlace[];
  /** The last that was accepted; of a deleted tenant, too. */
  #last: SegmentEntry | undefined;
  /** Segments that did not go on from what was there. */
  ignored = 0;

  constructor(places: readonly SegmentPlace[] = [], last: SegmentEntry | undefined = places.at(-1)?.entry) {
    this.places = places;
    this.#last = last;
  }

  /** Number of the newest commit; 0: none. */
  get pos(): number {
    return this.#last?.max ?? 0;
  }

  get last(): SegmentEntry | undefined {
    return this.#last;
  }

  /** Whether there is a file at {@link pos}. */
  get isAlive(): boolean {
    return this.#last !== undefined && this.#last.kind !== 'deleted';
  }

  /** @returns whether it was accepted. */
  add(place: SegmentPlace): boolean {
    const { entry } = place;
    if (!this.#goesOn(entry)) {
      this.ignored++;
      return false;
    }
    if (entry.kind === 'pages') this.places = [...this.places, place];
    else this.places = entry.kind === 'deleted' ? [] : [place];
    this.#last = entry;
    return true;
  }

  #goesOn({ kind, min, max }: SegmentEntry): boolean {
    // A new full segment of what is there has the same number.
    if (kind === 'full' || kind === 'base') return max >= this.pos;
    // Of a tenant that came and went within a merged pack there is nothing else, and its number still holds.
    if (kind === 'deleted') return max >= this.pos && this.#last?.kind !== 'deleted';
    return this.isAlive && min === this.pos + 1;
  }
}
