import {
  createThreadData,
  type GroupItemOutcome,
  giveOptions,
  type LaneOutcome,
  type LaneTask,
  type WriterOptions,
  type WriterThreadData,
  writerThreadUrl,
} from '@onewriter/writer';
import { Piscina } from 'piscina';
import type { CaptureConnection } from '../replica/capture-link.ts';
import { threadHeapMb } from './job-memory.ts';

/** Runs the tasks of a lane in the order in which they are given: a thread, or a process of its own. */
export interface LaneRunner {
  /** Its position; see {@link WriterOptions.progress}. */
  readonly progress: Int32Array;
  /** Before the first task. */
  configure(options: Omit<WriterOptions, 'progress'>): void;
  /** @throws Error where it ended before the task was done. */
  run(task: LaneTask): Promise<LaneOutcome>;
  /** Called for each batch of a group. */
  onItem(listener: (outcome: GroupItemOutcome) => void): void;
  /** Called where it ended without a task. @param replaced another has taken its place. */
  onIdleEnd(listener: (error: Error, replaced: boolean) => void): void;
  /** Connects what runs now with the replicator; an earlier connection of it ends. */
  connect(connection: CaptureConnection): void;
  /** Called where another thread or process has taken its place: it is not connected. */
  onStart(listener: () => void): void;
  /** Ends it; nothing may be under way. */
  destroy(): Promise<void>;
  /** It has no file open and nothing to do: it may end until the next task. */
  rest?(): void;
}

/** A writer thread that starts at once and gets its options later. A standby process has some ready. */
export class LaneThread implements LaneRunner {
  readonly progress: Int32Array;
  readonly #pool: Piscina<LaneTask, LaneOutcome>;
  readonly #data: WriterThreadData = createThreadData();
  #onStart: (() => void) | undefined;

  /** @param url entry file of the thread */
  constructor(url: URL = writerThreadUrl) {
    this.progress = new Int32Array(this.#data.progress);
    this.#pool = new Piscina({
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
    // The first event is that of the thread that was started just now.
    this.#pool.once('workerCreate', () => this.#pool.on('workerCreate', () => this.#onStart?.()));
  }

  configure(options: Omit<WriterOptions, 'progress'>): void {
    giveOptions(this.#data, options);
  }

  run(task: LaneTask): Promise<LaneOutcome> {
    return this.#pool.run(task);
  }

  onItem(listener: (outcome: GroupItemOutcome) => void): void {
    this.#pool.on('message', listener);
  }

  onIdleEnd(listener: (error: Error, replaced: boolean) => void): void {
    // If it had a task, the task is rejected instead.
    this.#pool.on('error', (error: Error) => listener(error, this.#pool.threads.length > 0));
  }

  connect(connection: CaptureConnection): void {
    // Where the thread ends before it, the next one is connected.
    const task = { kind: 'connect', ...connection } as const;
    this.#pool.run(task, { transferList: [connection.port] }).catch(() => {});
  }

  onStart(listener: () => void): void {
    this.#onStart = listener;
  }

  async destroy(): Promise<void> {
    await this.#pool.destroy();
  }
}
