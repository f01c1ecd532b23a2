import type { RetentionClock } from '../src/ledger/retention-marks.ts';

const DAY_MS = 24 * 60 * 60_000;

/** A data directory's clock that advances only when a test says so. */
export class SettableClock implements RetentionClock {
  readonly id: string;
  readonly offsetMs = 0;
  #nowMs = 5 * DAY_MS;

  constructor(id = 'clock-1') {
    this.id = id;
  }

  readonly now = () => this.#nowMs;

  advance(ms: number): void {
    this.#nowMs += ms;
  }
}
