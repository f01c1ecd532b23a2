import type { StatusHistory } from '@onewriter/protocol';
import type { WindowRates } from './rate-window.ts';

const EVERY_MS = 5_000;
const ENTRIES = 60;

/** The last five minutes in steps of five seconds, so that a freshly opened page has its plots at once. */
export class StatusHistoryLog {
  readonly #writesPerSecond: number[] = [];
  readonly #commitP50Ms: (number | null)[] = [];
  readonly #commitP99Ms: (number | null)[] = [];
  readonly #depth: number[] = [];
  #endsAt: number;

  /** @param now ms since the epoch. */
  constructor(now: number = Date.now()) {
    this.#endsAt = now;
  }

  /** Called every second; adds an entry when one is due. @param now ms since the epoch. */
  note(now: number, rates: WindowRates, depth: number): void {
    // A clock that was set back restarts the interval.
    if (now < this.#endsAt) this.#endsAt = now;
    if (now - this.#endsAt < EVERY_MS) return;
    this.#endsAt = now;
    append(this.#writesPerSecond, rates.perSecond);
    append(this.#commitP50Ms, rates.commitP50Ms);
    append(this.#commitP99Ms, rates.commitP99Ms);
    append(this.#depth, depth);
  }

  read(): StatusHistory {
    return {
      everyMs: EVERY_MS,
      endsAt: this.#endsAt,
      writesPerSecond: this.#writesPerSecond,
      commitP50Ms: this.#commitP50Ms,
      commitP99Ms: this.#commitP99Ms,
      depth: this.#depth,
    };
  }
}

function append<Value>(column: Value[], value: Value): void {
  column.push(value);
  if (column.length > ENTRIES) column.shift();
}
