import {
  backOffMs,
  encodeParameters,
  LIMITS,
  OnewriterError,
  onAbort,
  type SqlValue,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { ChunkQueue } from './chunk-queue.ts';
import { HeldSnapshots } from './held-snapshots.ts';
import { KeptTransactions } from './kept-transactions.ts';
import type { ReadProcessSettings, ReadTask, StepsTask } from './read-messages.ts';
import { ReadProcessHandle, type TaskListener } from './read-process-handle.ts';
import { aborted, closed, lost } from './read-refusals.ts';
import { ReadShares } from './read-shares.ts';
import type { StepProcesses } from './read-steps.ts';
import type { ReadAnswer, ReadRequest, ReadStream, TenantReads } from './tenant-reads.ts';
import { type WaitingTask, WaitingTasks } from './waiting-tasks.ts';

/** Settings of {@link ReadProcesses}. */
export interface ReadProcessesOptions extends ReadProcessSettings {
  readonly maxProcesses: number;
  readonly memoryBytes: number;
  readonly timeoutMs: number;
  /** A snapshot ends when a write-ahead log has grown by so much behind it. */
  readonly snapshotLogBytes: number;
  readonly log: Logger;
}

/** A read that waits this long is given one more process, if there may be one. */
const GROW_AFTER_MS = 25;
const RESTART_AFTER_MS = 1_000;
/** A process without work is ended after this; one always stays. */
const RETIRE_AFTER_MS = 60_000;
/** A read whose caller went away may finish until then: most do, and a new process costs more. */
const ABANDONED_MS = 200;
const MAX_RESULT_BYTES = 32 * 1024 * 1024;
/** Interval of the check whether a commit has come. */
const MIN_POLL_MS = 5;
const MAX_POLL_MS = 100;

interface WaitingRead extends WaitingTask<ReadProcessHandle> {
  readonly mayStayOpen: boolean;
  begin(handle: ReadProcessHandle): void;
  /** The process that it is pinned to has ended. */
  lose(): void;
}

/**
 * A few processes that run reads, one at a time each. SQLite cannot be stopped inside a step, a process can: at its
 * deadline a read's process is killed, and another takes its place. `ReadShares` says whose read begins: one that reads for long does not
 * hold up the reads of others.
 */
export class ReadProcesses implements TenantReads, StepProcesses, AsyncDisposable {
  readonly #options: ReadProcessesOptions;
  readonly #handles = new Set<ReadProcessHandle>();
  readonly #waiting = new WaitingTasks<ReadProcessHandle, WaitingRead>();
  readonly #kept = new KeptTransactions<ReadProcessHandle>();
  readonly #shares: ReadShares<ReadProcessHandle>;
  /** Of reads that run, and of transactions that are kept. */
  readonly #snapshots: HeldSnapshots;
  readonly #retiring: NodeJS.Timeout;
  #growing: NodeJS.Timeout | undefined;
  #closed = false;
  #whenGone: (() => void) | undefined;

  constructor(options: ReadProcessesOptions) {
    this.#options = options;
    this.#snapshots = new HeldSnapshots(options);
    this.#shares = new ReadShares(options.maxProcesses, this.#handles, this.#kept);
    this.#retiring = setInterval(() => this.#retire(), RETIRE_AFTER_MS / 2).unref();
    this.#start();
  }

  get openFiles(): number {
    let files = 0;
    for (const handle of this.#handles) files += handle.openFiles;
    return files;
  }

  /** Processes that run now. */
  get size(): number {
    return this.#handles.size;
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const deadline = performance.now() + (request.timeoutMs ?? this.#options.timeoutMs);
    for (let tries = 1; ; tries++) {
      try {
        return await this.#collect(request, deadline);
      } catch (error) {
        // Not there yet: the process is free meanwhile.
        const behind = error instanceof OnewriterError && error.code === 'COMMIT_SEQ_NOT_REACHED';
        const pauseMs = backOffMs(tries, { firstMs: MIN_POLL_MS, maxMs: MAX_POLL_MS });
        if (!behind || performance.now() + pauseMs >= deadline || request.signal?.aborted) throw error;
        await new Promise(resolve => setTimeout(resolve, pauseMs));
      }
    }
  }

  async stream(request: ReadRequest): Promise<ReadStream> {
    const deadline = performance.now() + (request.timeoutMs ?? this.#options.timeoutMs);
    const task: ReadTask = {
      ...toTask(request),
      streamed: true,
      maxRows: Number.MAX_SAFE_INTEGER,
      maxBytes: Number.MAX_SAFE_INTEGER,
    };
    return new Promise((resolve, reject) => {
      const chunks = new ChunkQueue();
      this.#run(
        task,
        deadline,
        request,
        handle => {
          chunks.onTaken = () => handle.more();
          chunks.onLeft = () => handle.cancel();
          return {
            onColumns: columns => resolve({ columns, chunks }),
            onRows: rows => chunks.push(rows),
            onEnd: () => chunks.end(),
            onError: error => {
              reject(error); // does nothing after the columns
              chunks.fail(error);
            },
          };
        },
        reject,
      );
    });
  }

  runSteps(
    task: StepsTask,
    options: Pick<ReadRequest, 'timeoutMs' | 'signal' | 'owner'>,
    begin: (handle: Pick<ReadProcessHandle, 'more' | 'cancel'>) => TaskListener,
    refuse: (error: OnewriterError) => void,
  ): void {
    const deadline = performance.now() + (options.timeoutMs ?? this.#options.timeoutMs);
    const pinned = task.resume === undefined ? undefined : this.#kept.forget(task.resume);
    if (task.resume !== undefined && pinned === undefined) {
      refuse(lost(task.tenant));
      return;
    }
    this.#run(
      task,
      deadline,
      options,
      handle => {
        const listener = begin(handle);
        return {
          ...listener,
          onEnd: end => {
            if (end.autocommit === false) this.#keep(task.keep!, handle, task.tenant);
            listener.onEnd(end);
          },
        };
      },
      error => {
        // It never began: the transaction is still there, and no request will continue it.
        if (pinned !== undefined) pinned.release(task.resume!);
        refuse(error);
      },
      pinned,
    );
  }

  release(name: string): void {
    this.#kept.forget(name)?.release(name);
  }

  forget(tenant: string): void {
    for (const handle of this.#handles) handle.forget(tenant);
  }

  /** Ends all processes at once; what they read fails with CLOSED. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#retiring);
    this.#snapshots.close();
    clearTimeout(this.#growing);
    if (this.#handles.size === 0) return;
    const gone = new Promise<void>(resolve => {
      this.#whenGone = resolve;
    });
    for (const handle of this.#handles) handle.kill(closed());
    await gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #collect(request: ReadRequest, deadline: number): Promise<ReadAnswer> {
    const task: ReadTask = {
      ...toTask(request),
      json: request.json,
      maxRows: LIMITS.maxResultRows,
      maxBytes: MAX_RESULT_BYTES,
    };
    return new Promise((resolve, reject) => {
      const results: { columns: readonly string[]; rows: SqlValue[][]; json?: Uint8Array[] }[] = [];
      this.#run(
        task,
        deadline,
        request,
        () => ({
          onColumns: columns =>
            void results.push({ columns, rows: [], ...(request.json === undefined ? {} : { json: [] }) }),
          onJson: json => void results.at(-1)!.json!.push(json),
          onRows: rows => {
            const result = results.at(-1)!;
            if (result.rows.length === 0) result.rows = rows;
            else for (const row of rows) result.rows.push(row);
          },
          onEnd: ({ commitSeq, incarnation }) => resolve({ results, commitSeq, incarnation }),
          onError: reject,
        }),
        reject,
      );
    });
  }

  /** Runs a task as soon as a process is free, until its deadline. */
  #run(
    task: ReadTask | StepsTask,
    deadline: number,
    { signal, owner }: Pick<ReadRequest, 'signal' | 'owner'>,
    begin: (handle: ReadProcessHandle) => TaskListener,
    refuse: (error: OnewriterError) => void,
    pinned?: ReadProcessHandle,
  ): void {
    const { tenant } = task;
    const refusal = this.#refusal(tenant, signal);
    if (refusal !== undefined) {
      refuse(refusal);
      return;
    }
    let running: ReadProcessHandle | undefined;
    let abandoned: NodeJS.Timeout | undefined;
    let endUse: (() => void) | undefined;
    const withdraw = (error: OnewriterError) => {
      this.#waiting.remove(waiting);
      done();
      refuse(error);
    };
    const onLate = () => {
      if (running === undefined) {
        withdraw(new OnewriterError('TIMEOUT', 'No process became free for the read in time.', { tenant }));
      } else {
        running.kill(
          new OnewriterError('READ_TIMEOUT', 'The read took too long and was stopped.', { tenant }),
        );
      }
    };
    const leave = () => {
      if (running === undefined) withdraw(aborted(tenant));
      else abandoned = setTimeout(() => running?.kill(aborted(tenant)), ABANDONED_MS);
    };
    let dropSnapshot: (() => void) | undefined;
    const done = () => {
      running = undefined;
      endUse?.();
      dropSnapshot?.();
      clearTimeout(timer);
      clearTimeout(abandoned);
      endWatch?.();
    };
    const timer = setTimeout(onLate, Math.max(1, deadline - performance.now()));
    const endWatch = signal && onAbort(signal, leave);
    const waiting: WaitingRead = {
      tenant,
      owner,
      since: performance.now(),
      pinned,
      mayStayOpen: task.type === 'steps' && task.keep !== undefined,
      lose: () => withdraw(lost(tenant)),
      begin: handle => {
        running = handle;
        dropSnapshot = this.#snapshots.add(tenant, error => running?.kill(error));
        endUse = this.#shares.begin(handle, tenant);
        const listener = begin(handle);
        const reported: TaskListener = {
          ...listener,
          onEnd: end => {
            done();
            listener.onEnd(end);
          },
          onError: error => {
            done();
            listener.onError(error);
          },
        };
        handle.begin(task, reported, owner);
      },
    };
    this.#waiting.push(waiting);
    this.#assign();
  }

  #keep(name: string, handle: ReadProcessHandle, tenant: string): void {
    // Once it ends, the next request finds that it is lost, and begins again.
    const drop = this.#snapshots.add(tenant, () => this.release(name));
    this.#kept.add(name, handle, tenant, drop);
  }

  #refusal(tenant: string, signal: AbortSignal | undefined): OnewriterError | undefined {
    if (this.#closed) return closed();
    if (signal?.aborted) return aborted(tenant);
    return this.#waiting.refusal(tenant);
  }

  /** Gives waiting tasks to free processes. */
  #assign(): void {
    const now = performance.now();
    const usedBy = (tenant: string) => this.#shares.usedMs(tenant, now);
    for (const handle of this.#shares.inOrder()) {
      if (this.#waiting.size === 0) return;
      if (!handle.free) continue;
      this.#waiting.next(handle, task => this.#shares.mayBegin(task, handle, now), usedBy)?.begin(handle);
    }
    if (this.#waiting.size > 0) this.#growLater();
  }

  #growLater(): void {
    if (this.#growing !== undefined || this.#closed) return;
    this.#growing = setTimeout(() => {
      this.#growing = undefined;
      const { oldest } = this.#waiting;
      if (oldest === undefined) return;
      // One that is just starting may be all that it takes.
      const starting = [...this.#handles].some(handle => !handle.wasReady);
      const waited = performance.now() - oldest.since >= GROW_AFTER_MS;
      if (waited && !starting && this.#handles.size < this.#options.maxProcesses) this.#start();
      this.#assign();
    }, GROW_AFTER_MS + 1);
  }

  #start(): void {
    const { dataDir, dbFile, busyTimeoutMs, maxOpenFiles, memoryBytes } = this.#options;
    const handle = new ReadProcessHandle(
      { dataDir, dbFile, busyTimeoutMs, maxOpenFiles },
      memoryBytes,
      () => this.#onFree(handle),
      (gone, stderr) => this.#onGone(gone, stderr),
    );
    this.#handles.add(handle);
  }

  #onFree(handle: ReadProcessHandle): void {
    const { maxProcesses } = this.#options;
    if (this.#shares.lacksForeground) {
      if (this.#handles.size >= maxProcesses && !this.#kept.has(handle)) this.#drop(handle);
      if (this.#handles.size < maxProcesses) this.#start();
    }
    this.#assign();
  }

  /** Ends a free process. */
  #drop(handle: ReadProcessHandle): void {
    this.#handles.delete(handle);
    handle.kill(closed());
  }

  #onGone(handle: ReadProcessHandle, stderr: string): void {
    this.#handles.delete(handle);
    this.#kept.forgetAllOf(handle);
    for (const waiting of this.#waiting.pinnedTo(handle)) waiting.lose();
    if (this.#closed) {
      if (this.#handles.size === 0) this.#whenGone?.();
      return;
    }
    if (stderr !== '') this.#options.log.warn({ stderr }, 'A reading process ended');
    const { size } = this.#handles;
    if (size >= this.#options.maxProcesses || (size > 0 && this.#waiting.size === 0)) return;
    if (handle.wasReady) this.#start();
    // One that cannot even start is not started over and over without a pause.
    else setTimeout(() => !this.#closed && this.#start(), RESTART_AFTER_MS).unref();
  }

  #retire(): void {
    for (const handle of this.#handles) {
      if (this.#handles.size <= 1) return;
      if (!handle.free || performance.now() - handle.idleSince < RETIRE_AFTER_MS) continue;
      if (this.#kept.has(handle)) continue;
      this.#drop(handle);
    }
  }
}

function toTask(request: ReadRequest) {
  return {
    type: 'read' as const,
    tenant: request.tenant,
    statements: request.statements.map(({ sql, params }) => ({ sql, params: encodeParameters(params) })),
    firstRowOnly: request.firstRowOnly,
    minCommitSeq: request.minCommitSeq,
    safeIntegers: request.safeIntegers,
  };
}
