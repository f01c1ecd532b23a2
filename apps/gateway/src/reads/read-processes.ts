import {
  backOffMs,
  encodeParameters,
  LIMITS,
  OnewriterError,
  onAbort,
  realDatabasePath,
  SNAPSHOT_LOOK_MS,
  SnapshotBound,
  type SqlParameters,
  type SqlValue,
  snapshotEnded,
  tenantFile,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { ReadProcessSettings, ReadTask, StepsTask } from './read-messages.ts';
import { ReadProcessHandle, type TaskListener } from './read-process-handle.ts';
import type { StepProcesses } from './read-steps.ts';
import type { RowForm } from './row-json.ts';

/** A statement that only reads. */
export interface ReadStatement {
  readonly sql: string;
  readonly params?: SqlParameters | undefined;
}

/** What and where to read, and how long the caller waits. */
export interface ReadRequest {
  readonly tenant: string;
  /** Run on one state of the database. */
  readonly statements: readonly ReadStatement[];
  /** The read is stopped then. Default: the gateway's own. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly firstRowOnly?: boolean | undefined;
  /** Waits until the tenant has committed this. */
  readonly minCommitSeq?: number | undefined;
  /** Every integer is a bigint, so that it differs from a real. */
  readonly safeIntegers?: boolean | undefined;
  /** Rows are wanted as JSON: those that a process reads come as `json`. Not for {@link Reads.stream}. */
  readonly json?: RowForm | undefined;
}

/** Rows of one statement, values in column order; integers are bigint beyond 2^53, or with `safeIntegers` always. */
export interface ReadResult {
  readonly columns: readonly string[];
  readonly rows: SqlValue[][];
  /** In place of the rows: the elements of an array, in pieces. */
  readonly json?: readonly Uint8Array[] | undefined;
}

/** Result of a read. */
export interface ReadAnswer {
  /** One per statement. */
  readonly results: readonly ReadResult[];
  /** The newest commit that the read saw; undefined for a file that no writer has opened. */
  readonly commitSeq: number | undefined;
  /** The file that was read; see the protocol's DatabaseFile. */
  readonly incarnation?: string | undefined;
}

/** A result that comes in pieces. */
export interface ReadStream {
  readonly columns: readonly string[];
  /** Ends with an error where the read did. Leaving the loop ends the read. */
  readonly chunks: AsyncIterable<SqlValue[][]>;
}

/** Runs reads. */
export interface Reads {
  /**
   * Reads and returns all rows.
   * @throws OnewriterError READ_TIMEOUT (stopped), TIMEOUT (never begun), ABORTED, RESULT_TOO_LARGE, RATE_LIMITED,
   * COMMIT_SEQ_NOT_REACHED, SQL_ERROR, TENANT_NOT_FOUND, DATABASE_…
   */
  read(request: ReadRequest): Promise<ReadAnswer>;
  /** Reads one statement whose result may be of any length. @throws as {@link read} */
  stream(request: ReadRequest): Promise<ReadStream>;
  /** Closes a tenant's file, which was moved away. */
  forget(tenant: string): void;
  /** Files that are open, about. */
  readonly openFiles: number;
}

/** Settings of {@link ReadProcesses}. */
export interface ReadProcessesOptions extends ReadProcessSettings {
  readonly maxProcesses: number;
  readonly memoryBytes: number;
  readonly timeoutMs: number;
  /** A snapshot ends when a write-ahead log has grown by so much behind it. */
  readonly snapshotLogBytes: number;
  readonly log: Logger;
}

/** Reads that wait for a process; beyond this, callers get RATE_LIMITED. */
const MAX_WAITING = 1_000;
/** Share of one tenant. */
const MAX_WAITING_OF_TENANT = MAX_WAITING / 4;
const RETRY_AFTER_MS = 500;
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

interface WaitingTask {
  readonly task: ReadTask | StepsTask;
  readonly since: number;
  /** Only this process has the transaction that the task continues. */
  readonly pinned: ReadProcessHandle | undefined;
  begin(handle: ReadProcessHandle): void;
  /** The process that it is pinned to has ended. */
  lose(): void;
}

/** What holds a snapshot of a tenant's file. */
interface HeldSnapshot {
  readonly tenant: string;
  /** Undefined until it is first looked at: most reads end before. */
  bound: SnapshotBound | undefined;
  readonly end: (error: OnewriterError) => void;
}

/**
 * A few processes that run reads, one at a time each. SQLite cannot be stopped inside a step, a process can: at its
 * deadline a read's process is killed, and another takes its place. A tenant never has all of them, so one that reads
 * for long does not hold up the reads of others.
 */
export class ReadProcesses implements Reads, StepProcesses, AsyncDisposable {
  readonly #options: ReadProcessesOptions;
  readonly #handles = new Set<ReadProcessHandle>();
  readonly #waiting: WaitingTask[] = [];
  /** Which process keeps a transaction. */
  readonly #kept = new Map<string, ReadProcessHandle>();
  /** Reads that run, and transactions that are kept. */
  readonly #snapshots = new Set<HeldSnapshot>();
  readonly #keptSnapshots = new Map<string, HeldSnapshot>();
  readonly #retiring: NodeJS.Timeout;
  readonly #looking: NodeJS.Timeout;
  #growing: NodeJS.Timeout | undefined;
  #closed = false;
  #whenGone: (() => void) | undefined;

  constructor(options: ReadProcessesOptions) {
    this.#options = options;
    this.#retiring = setInterval(() => this.#retire(), RETIRE_AFTER_MS / 2).unref();
    this.#looking = setInterval(() => this.#boundSnapshots(), SNAPSHOT_LOOK_MS).unref();
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
        request.signal,
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
    options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined },
    begin: (handle: Pick<ReadProcessHandle, 'more' | 'cancel'>) => TaskListener,
    refuse: (error: OnewriterError) => void,
  ): void {
    const deadline = performance.now() + (options.timeoutMs ?? this.#options.timeoutMs);
    const pinned = task.resume === undefined ? undefined : this.#kept.get(task.resume);
    if (task.resume !== undefined) this.#forgetKept(task.resume);
    if (task.resume !== undefined && pinned === undefined) {
      refuse(lost(task.tenant));
      return;
    }
    this.#run(
      task,
      deadline,
      options.signal,
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
    this.#kept.get(name)?.release(name);
    this.#forgetKept(name);
  }

  forget(tenant: string): void {
    for (const handle of this.#handles) handle.forget(tenant);
  }

  /** Ends all processes at once; what they read fails with CLOSED. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#retiring);
    clearInterval(this.#looking);
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
        request.signal,
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
    signal: AbortSignal | undefined,
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
    const withdraw = (error: OnewriterError) => {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
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
    const snapshot: HeldSnapshot = { tenant, bound: undefined, end: error => running?.kill(error) };
    const done = () => {
      running = undefined;
      this.#snapshots.delete(snapshot);
      clearTimeout(timer);
      clearTimeout(abandoned);
      endWatch?.();
    };
    const timer = setTimeout(onLate, Math.max(1, deadline - performance.now()));
    const endWatch = signal && onAbort(signal, leave);
    const waiting: WaitingTask = {
      task,
      since: performance.now(),
      pinned,
      lose: () => withdraw(lost(tenant)),
      begin: handle => {
        running = handle;
        this.#snapshots.add(snapshot);
        const listener = begin(handle);
        handle.begin(task, {
          ...listener,
          onEnd: end => {
            done();
            listener.onEnd(end);
          },
          onError: error => {
            done();
            listener.onError(error);
          },
        });
      },
    };
    this.#waiting.push(waiting);
    this.#assign();
  }

  #keep(name: string, handle: ReadProcessHandle, tenant: string): void {
    this.#kept.set(name, handle);
    // Once it ends, the next request finds that it is lost, and begins again.
    const snapshot = { tenant, bound: undefined, end: () => this.release(name) };
    this.#keptSnapshots.set(name, snapshot);
    this.#snapshots.add(snapshot);
  }

  #forgetKept(name: string): void {
    this.#kept.delete(name);
    const snapshot = this.#keptSnapshots.get(name);
    if (snapshot !== undefined) this.#snapshots.delete(snapshot);
    this.#keptSnapshots.delete(name);
  }

  /** Ends reads that keep a log from being reset while much is written. A read inside SQLite cannot check this itself. */
  #boundSnapshots(): void {
    const { dataDir, dbFile, snapshotLogBytes } = this.#options;
    for (const snapshot of [...this.#snapshots]) {
      const { tenant } = snapshot;
      if (snapshot.bound === undefined) {
        const path = realDatabasePath(tenantFile(dataDir, tenant, dbFile));
        snapshot.bound = new SnapshotBound(path, snapshotLogBytes);
      } else if (snapshot.bound.isReached()) {
        this.#options.log.warn({ tenant }, 'A read was ended: its snapshot kept the log growing');
        snapshot.end(snapshotEnded(tenant, 'Fetch the rows faster, or read in smaller pieces.'));
      }
    }
  }

  #refusal(tenant: string, signal: AbortSignal | undefined): OnewriterError | undefined {
    if (this.#closed) return closed();
    if (signal?.aborted) return aborted(tenant);
    const own = this.#waitingOf(tenant);
    if (this.#waiting.length < MAX_WAITING && own < MAX_WAITING_OF_TENANT) return undefined;
    const message =
      own < MAX_WAITING_OF_TENANT
        ? `${MAX_WAITING} reads wait already; try again.`
        : `${own} reads of this tenant wait already; try again.`;
    return new OnewriterError('RATE_LIMITED', message, { tenant, retryAfterMs: RETRY_AFTER_MS });
  }

  #waitingOf(tenant: string): number {
    let count = 0;
    for (const { task } of this.#waiting) if (task.tenant === tenant) count++;
    return count;
  }

  /** Gives waiting tasks to free processes, oldest first, a tenant never all of them. */
  #assign(): void {
    for (const handle of this.#handles) {
      if (this.#waiting.length === 0) return;
      if (!handle.free) continue;
      const index = this.#waiting.findIndex(
        ({ task, pinned }) => (pinned ?? handle) === handle && this.#mayBegin(task.tenant),
      );
      if (index < 0) continue;
      const [next] = this.#waiting.splice(index, 1);
      next!.begin(handle);
    }
    if (this.#waiting.length > 0) this.#growLater();
  }

  #mayBegin(tenant: string): boolean {
    const most = Math.max(1, this.#options.maxProcesses - 1);
    let running = 0;
    for (const handle of this.#handles) if (handle.tenant === tenant) running++;
    return running < most;
  }

  #growLater(): void {
    if (this.#growing !== undefined || this.#closed) return;
    this.#growing = setTimeout(() => {
      this.#growing = undefined;
      const [oldest] = this.#waiting;
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
      () => this.#assign(),
      (gone, stderr) => this.#onGone(gone, stderr),
    );
    this.#handles.add(handle);
  }

  #onGone(handle: ReadProcessHandle, stderr: string): void {
    this.#handles.delete(handle);
    for (const [name, keeper] of this.#kept) if (keeper === handle) this.#forgetKept(name);
    for (const waiting of this.#waiting.filter(({ pinned }) => pinned === handle)) waiting.lose();
    if (this.#closed) {
      if (this.#handles.size === 0) this.#whenGone?.();
      return;
    }
    if (stderr !== '') this.#options.log.warn({ stderr }, 'A reading process ended');
    if (this.#handles.size > 0 && this.#waiting.length === 0) return;
    if (handle.wasReady) this.#start();
    // One that cannot even start is not started over and over without a pause.
    else setTimeout(() => !this.#closed && this.#start(), RESTART_AFTER_MS).unref();
  }

  #retire(): void {
    for (const handle of this.#handles) {
      if (this.#handles.size <= 1) return;
      if (!handle.free || performance.now() - handle.idleSince < RETIRE_AFTER_MS) continue;
      if ([...this.#kept.values()].includes(handle)) continue;
      this.#handles.delete(handle);
      handle.kill(closed());
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

/** Chunks between a process and the loop that takes them: a window of them at most. */
class ChunkQueue implements AsyncIterable<SqlValue[][]> {
  onTaken: () => void = () => {};
  onLeft: () => void = () => {};
  readonly #chunks: SqlValue[][][] = [];
  #ended = false;
  #error: OnewriterError | undefined;
  #wake: (() => void) | undefined;

  push(chunk: SqlValue[][]): void {
    this.#chunks.push(chunk);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: OnewriterError): void {
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SqlValue[][], void, undefined> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          this.onTaken();
          yield chunk;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else {
          await new Promise<void>(resolve => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      if (!this.#ended && this.#error === undefined) this.onLeft();
    }
  }
}

function closed(): OnewriterError {
  return new OnewriterError('CLOSED', 'The gateway is shutting down.');
}

function aborted(tenant: string): OnewriterError {
  return new OnewriterError('ABORTED', 'The caller went away.', { tenant });
}

function lost(tenant: string): OnewriterError {
  return new OnewriterError('TRANSACTION_TIMEOUT', 'The transaction was lost; begin it again.', { tenant });
}
