import {
  createThreadData,
  giveOptions,
  type LaneOutcome,
  type LaneTask,
  type WriterOptions,
  type WriterThreadData,
  writerThreadUrl,
} from '@onewriter/writer';
import { Piscina } from 'piscina';
import { threadHeapMb } from './job-memory.ts';

/** A writer thread that starts at once and gets its options later. A standby process has some ready. */
export class LaneThread {
  readonly pool: Piscina<LaneTask, LaneOutcome>;
  /** The thread's position; see {@link WriterOptions.progress}. */
  readonly progress: Int32Array;
  readonly #data: WriterThreadData = createThreadData();

  /** @param url entry file of the thread */
  constructor(url: URL = writerThreadUrl) {
    this.progress = new Int32Array(this.#data.progress);
    this.pool = new Piscina({
      filename: url.href,
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // The thread's event loop turns between tasks: checkpoints run after the outcome is posted.
      atomics: 'disabled',
      recordTiming: false,
      // Tasks run in the order of submission: a task that closes a file comes after those begun with it.
      stricterFIFO: true,
      resourceLimits: { maxOldGenerationSizeMb: threadHeapMb() },
      workerData: this.#data,
    });
  }

  /** Before the first task. */
  configure(options: Omit<WriterOptions, 'progress'>): void {
    giveOptions(this.#data, options);
  }
}
