import type { ApplyTask, LaneOutcome, LaneTask, WriterOptions } from '@onewriter/writer';
import { writerThreadUrl } from '@onewriter/writer';
import { Piscina } from 'piscina';

/** A tenant with work, as a lane sees it. */
export interface LaneClient {
  readonly tenant: string;
  /** The lane whose thread has the tenant's connection. */
  lane: Lane | undefined;
  /** Called when it is its turn; undefined where there is nothing to do any more. @param contended others wait. */
  nextTask(contended: boolean): ApplyTask | undefined;
  onOutcome(outcome: LaneOutcome): void;
  /** The thread failed: it is not known how far it came. */
  onFault(error: Error): void;
}

/** What a lane's thread is doing. */
export interface LaneWork {
  readonly client: LaneClient;
  readonly task: ApplyTask;
  /** On the monotonic clock, ms. */
  readonly startedAt: number;
}

/** A thread that wants more memory than this is ended, and its task with it; the process goes on. */
const MAX_HEAP_MB = 1_024;

/**
 * One writer thread, and the tenants that wait for it, in turn. One task is in the thread at a time: a tenant that
 * waits is not bound to the thread yet, and can go to another lane if this one is held up.
 */
export class Lane {
  readonly index: number;
  /** Tenants whose connection this thread may have, with and without work. */
  readonly tenants = new Set<string>();
  /** Tenants that moved to another lane: their connection here is to be closed. */
  readonly leaving = new Set<string>();
  #work: LaneWork | undefined;
  #closing = false;
  readonly #queue: LaneClient[] = [];
  readonly #pool: Piscina<LaneTask, LaneOutcome>;
  readonly #progress: Int32Array;
  readonly #mayBegin: () => boolean;
  readonly #onIdle: () => void;

  /** @param mayBegin asked before each task. @param onIdle called when the thread has nothing to do. */
  constructor(
    index: number,
    options: Omit<WriterOptions, 'progress'>,
    mayBegin: () => boolean,
    onIdle: () => void,
  ) {
    const progress = new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT);
    this.index = index;
    this.#progress = new Int32Array(progress);
    this.#mayBegin = mayBegin;
    this.#onIdle = onIdle;
    this.#pool = new Piscina({
      filename: writerThreadUrl.href,
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // The thread's event loop turns between tasks: checkpoints run after the outcome is posted.
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
      workerData: { ...options, progress } satisfies WriterOptions,
    });
  }

  /** What the thread is doing; undefined: nothing. */
  get work(): LaneWork | undefined {
    return this.#work;
  }

  /** Tenants that wait, and the one that is served. */
  get load(): number {
    return this.#queue.length + (this.#work === undefined ? 0 : 1);
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Where the thread is: index of the job in the task, of the write in the job. */
  get position(): { readonly job: number; readonly op: number } {
    return { job: Atomics.load(this.#progress, 1), op: Atomics.load(this.#progress, 2) };
  }

  /** The tenant gets its turn after those that wait already. */
  enqueue(client: LaneClient): void {
    client.lane = this;
    this.tenants.add(client.tenant);
    this.leaving.delete(client.tenant);
    this.#queue.push(client);
    this.pump();
  }

  /** Takes all that wait out of the queue. */
  withdrawAll(): readonly LaneClient[] {
    return this.#queue.splice(0);
  }

  /** Begins the next task, if the thread is free and it may. */
  pump(): void {
    while (this.#work === undefined && !this.#closing && this.#queue.length > 0 && this.#mayBegin()) {
      const client = this.#queue.shift()!;
      const task = client.nextTask(this.#queue.length > 0);
      if (task !== undefined) void this.#run(client, task);
    }
  }

  /** Runs the tenant's next task, whatever else waits; the thread must be free. */
  async runAlone(client: LaneClient): Promise<void> {
    client.lane = this;
    this.tenants.add(client.tenant);
    const task = client.nextTask(false);
    if (task !== undefined) await this.#run(client, task);
  }

  /** Closes a tenant's connection, or all; after what runs. */
  async closeTenant(tenant: string | null): Promise<void> {
    if (tenant !== null) this.tenants.delete(tenant);
    await this.#pool.run({ kind: 'close', tenant });
  }

  /** Closes all connections and ends the thread. Idempotent. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    await this.closeTenant(null);
    await this.#pool.destroy();
  }

  async #run(client: LaneClient, task: ApplyTask): Promise<void> {
    this.#work = { client, task, startedAt: performance.now() };
    let outcome: LaneOutcome | undefined;
    let fault: Error | undefined;
    try {
      outcome = await this.#pool.run(task);
    } catch (error) {
      fault = error as Error;
    }
    this.#work = undefined;
    // The thread first: it works while this one tells what came of the task.
    this.pump();
    if (outcome !== undefined) client.onOutcome(outcome);
    else client.onFault(fault!);
    for (const tenant of this.leaving) {
      this.leaving.delete(tenant);
      void this.closeTenant(tenant).catch(() => {}); // the thread ended: its connections are closed
    }
    if (this.#work === undefined) this.#onIdle();
  }
}
