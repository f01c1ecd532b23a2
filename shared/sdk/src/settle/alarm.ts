import { now } from '../waits.ts';

/** The timer may be so late before {@link Alarm.check} does its work. */
const MAX_LATE_MS = 25;
/**
 * Minimum time between two checks: thousands of deadlines a second are then checked together, each a few milliseconds late,
 * while an isolated one is still met at once.
 */
const MIN_APART_MS = 10;

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
  #firedAt = Number.NEGATIVE_INFINITY;

  /** Adds a thing, or notes that its `dueAt` is earlier now. */
  set(thing: Due): void {
    this.#things.add(thing);
    if (Math.max(thing.dueAt, this.#firedAt + MIN_APART_MS) < this.#firesAt) this.#arm(thing.dueAt);
  }

  remove(thing: Due): void {
    if (this.#things.delete(thing) && this.#things.size === 0) this.#disarm();
  }

  /**
   * Does what is due where the timer is late. For work that comes in a long row within one turn of the event loop, such as
   * thousands of answers that Redis had ready: the timer fires after all of it.
   */
  check(): void {
    if (now() - this.#firesAt > MAX_LATE_MS) this.#fire();
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = Math.max(at, this.#firedAt + MIN_APART_MS);
    // Node fires a timer up to a millisecond early: round up, so that what is due is due.
    const delayMs = Math.min(Math.max(Math.ceil(this.#firesAt - now()), 0) + 1, 0x7fff_ffff);
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
    this.#firedAt = time;
    for (const thing of this.#things) if (thing.dueAt <= time) thing.onDue(time);
    let earliest = Number.POSITIVE_INFINITY;
    for (const thing of this.#things) earliest = Math.min(earliest, thing.dueAt);
    if (earliest < this.#firesAt) this.#arm(earliest);
  }
}
