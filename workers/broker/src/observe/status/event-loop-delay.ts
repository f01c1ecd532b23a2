import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 20;

/** How late the timers of this process are, since the last look. */
export class EventLoopDelay {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  enable(): void {
    this.#histogram.enable();
  }

  /** The 99th percentile since the last look, in ms. Subtracts the monitor's own interval. */
  look(): number {
    const p99Ms = this.#histogram.percentile(99) / 1e6 - RESOLUTION_MS;
    this.#histogram.reset();
    return p99Ms > 0 ? Number(p99Ms.toPrecision(3)) : 0;
  }

  /** Idempotent. */
  disable(): void {
    this.#histogram.disable();
  }
}
