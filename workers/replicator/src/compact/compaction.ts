import { backOffMs } from '@onewriter/protocol';
import { PACKS_OF_LEVEL } from '../format/entry.ts';
import type { Compacted } from './compact-once.ts';

/** What is too old is looked for so often, where no pack is made. */
const IDLE_MS = 30 * 60_000;
const PAUSES = Object.freeze({ firstMs: 30_000, maxMs: 30 * 60_000 });

export interface CompactionOptions {
  /** One run, in a process of its own. @param elapsedMs since the one before began, well or not, by a clock that nothing sets; 0 for the first */
  readonly compact: (signal: AbortSignal, elapsedMs: number) => Promise<Compacted>;
  /** What a run found, where anything is to be done about it. The next run waits for it. */
  readonly onFound: (found: Pick<Compacted, 'needsFull' | 'damaged'>) => Promise<void>;
  /** A run failed; it is repeated later. */
  readonly onError: (error: unknown) => void;
  readonly nowMs: () => number;
}

/**
 * Decides when to compact: after each 32 packs, one run at a time; later after one that failed.
 *
 *   waiting ──enough packs, or long ago──▶ running ──▶ waiting
 */
export class Compaction {
  readonly #options: CompactionOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** The last block that a run has looked at. */
  #block = -1;
  #failures = 0;
  #notBeforeMs = 0;
  /** When the last run began, on the monotonic clock: no time counts twice. */
  #beganAt: number | undefined;

  constructor(options: CompactionOptions) {
    this.#options = options;
  }

  /** Called now and then. @param stored number of the newest pack up to which all are stored */
  look(stored: number): void {
    const block = Math.floor(stored / PACKS_OF_LEVEL[1]);
    const now = this.#options.nowMs();
    const isDue = now >= this.#notBeforeMs || (this.#failures === 0 && block > this.#block);
    if (this.#running !== undefined || this.#stop.signal.aborted || !isDue) return;
    this.#block = block;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Ends what runs: it may be ended anywhere. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { compact, onFound, onError, nowMs } = this.#options;
    const beganAt = performance.now();
    const elapsedMs = beganAt - (this.#beganAt ?? beganAt);
    this.#beganAt = beganAt;
    try {
      const { packs, needsFull, damaged } = await compact(this.#stop.signal, elapsedMs);
      this.#failures = 0;
      this.#notBeforeMs = nowMs() + IDLE_MS;
      // There may be more than one run makes.
      if (packs.length > 1) this.#block = -1;
      if (needsFull.length + damaged.tenants.length + damaged.packs.length > 0)
        await onFound({ needsFull, damaged });
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#failures++;
      this.#notBeforeMs = nowMs() + backOffMs(this.#failures, PAUSES);
      onError(error);
    }
  }
}
