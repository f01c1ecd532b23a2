import { now } from './deadline.ts';

/** Something that must be looked at when its time comes. */
export interface Due {
  /** When, on the clock of now(); Infinity: never. May be too early, never too late. */
  readonly dueAt: number;
  /** Does what is due; afterwards `dueAt` is in the future, or the thing has been removed. */
  onDue(now: number): void;
}

/**
 * One timer for any number of deadlines. Most writes settle long before their deadline, so a timer for each would
 * be set and cleared for nothing: here the timer stands at the earliest known time, and only when it fires are the
 * things looked through. It runs only while something waits, so it keeps no process alive for nothing.
 */
export class Alarm {
  readonly #things = new Set<Due>();
  #timer: NodeJS.Timeout | undefined;
  #firesAt = Number.POSITIVE_INFINITY;

  /** Adds a thing, or notes that its `dueAt` is earlier now. */
  set(thing: Due): void {
    this.#things.add(thing);
    if (thing.dueAt < this.#firesAt) this.#arm(thing.dueAt);
  }

  remove(thing: Due): void {
    if (this.#things.delete(thing) && this.#things.size === 0) this.#disarm();
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = at;
    // Node fires a timer up to a millisecond early: round up, so that what is due is due.
    const delayMs = Math.min(Math.max(Math.ceil(at - now()), 0) + 1, 0x7fff_ffff);
    this.#timer = setTimeout(() => this.#fire(), delayMs);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#firesAt = Number.POSITIVE_INFINITY;
  }

  #fire(): void {
    this.#disarm();
    const time = now();
    for (const thing of this.#things) if (thing.dueAt <= time) thing.onDue(time);
    let earliest = Number.POSITIVE_INFINITY;
    for (const thing of this.#things) earliest = Math.min(earliest, thing.dueAt);
    if (earliest < this.#firesAt) this.#arm(earliest);
  }
}
