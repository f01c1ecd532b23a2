import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { fromWireError, OnewriterError, onAbort } from '@onewriter/protocol';
import { type Logger, setThreadPriority } from '@onewriter/runtime';
import type {
  BodyAnswer,
  BodyTask,
  OtherTask,
  ReadBody,
  StatementTask,
  ThreadMessage,
} from './body-messages.ts';
import { BodyTurns } from './body-turns.ts';
import type { OtherBodies, OtherBodyName } from './other-bodies.ts';
import type { BodyName, StatementBody } from './statement-body.ts';
import { threadCpuMs } from './thread-cpu.ts';

/** How long a caller waits for its body to be read. */
export interface BodyWait {
  /** Whose body it is: owners have turns. */
  readonly owner: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Reads large bodies elsewhere than in the event loop. */
export interface BodyReader {
  /**
   * Reads a body, and seals what it writes. The bytes are gone then.
   * @throws OnewriterError as readStatementBody(); TIMEOUT, ABORTED, CLOSED; PAYLOAD_TOO_LARGE where it takes too
   *   much time or memory
   */
  read<Name extends BodyName>(task: StatementTask<Name>, wait: BodyWait): Promise<StatementBody<Name>>;
  /** Reads another body. The bytes are gone then. @throws OnewriterError as readOtherBody(), and as {@link read} */
  readOther<Name extends OtherBodyName>(task: OtherTask<Name>, wait: BodyWait): Promise<OtherBodies[Name]>;
}

const ENTRY = new URL('./body-thread.js', import.meta.url);
/** Bodies that are read at the same time: an owner never has both threads. */
const THREADS = 2;
/** A smaller body takes a third of a second of CPU at most: more is known of none before it is read. */
const LARGE_BYTES = 1024 * 1024;
/** JSON.parse cannot be interrupted: a thread that is ended lives until it returns, and others work in the meantime. */
const MAX_ENDING = 2;
/** What is not bytes of the body. */
const BASE_MIB = 64;
/** A body of many small values takes so many times its size in the heap, with what is made of it. */
const HEAP_FACTOR = 48;
/** CPU time of a body. Measured: see `test/attacks`, "costly-bodies"; 8 MiB of a usual body take a fifth of it. */
const MAX_CPU_MS = 1_000;
/** CPU time that a body still has when its caller is gone: less than a new thread costs. */
const GONE_CPU_MS = 100;
/** Where the system does not say how much CPU time a thread used, the clock counts, and a busy machine makes a body slower. */
const CLOCK_FACTOR = 5;
const LEAST_CHECK_MS = 10;
/** A thread cannot become less nice again. One that had a long body ends after as long without work, and the next is as nice as any. */
const RETIRE_AFTER_MS = 5_000;

interface WaitingBody {
  readonly task: BodyTask;
  settle(answer: BodyAnswer): void;
  fail(error: OnewriterError): void;
}

/** A body that a thread reads. */
interface RunningBody extends WaitingBody {
  readonly owner: string;
  readonly sinceMs: number;
  /** CPU time of the thread when it began with it; undefined until the thread is ready. */
  startMs: number | undefined;
  limitMs: number;
  /** What it took, where it was broken off. */
  usedMs: number | undefined;
  timer: NodeJS.Timeout | undefined;
}

/**
 *   starting ──ready──▶ ready ──a task──▶ reads ──its answer──▶ ready
 *                                           └──over its time──▶ ending ──▶ gone; another thread takes its place
 */
interface BodyThread {
  readonly worker: Worker;
  /** It reads long bodies, too; with the first one it becomes one that runs while a CPU has nothing else to do. */
  readonly isBackground: boolean;
  /** Of Linux; undefined where it is not ready, or another system. */
  id: number | undefined;
  /** undefined: not ready yet. */
  cpuMs: (() => number) | undefined;
  running: RunningBody | undefined;
  /** It had a long body. */
  isNice: boolean;
  retiring: NodeJS.Timeout | undefined;
  ending: boolean;
}

/**
 * Threads that read large bodies. Owners have turns ({@link BodyTurns}), and a body has so much CPU time: a thread that needs more is
 * replaced. Bodies wait in memory that `Shares` of bodies bound. The threads start with the first body.
 */
export class BodyThreads implements BodyReader, AsyncDisposable {
  readonly #heapMib: number;
  readonly #log: Logger;
  readonly #turns = new BodyTurns<WaitingBody>(THREADS, ({ task }) => task.bytes.byteLength >= LARGE_BYTES);
  /** Those that are ending, too. */
  readonly #threads = new Set<BodyThread>();
  #closed = false;

  readonly #retireAfterMs: number;

  constructor(maxBodyBytes: number, log: Logger, retireAfterMs = RETIRE_AFTER_MS) {
    this.#heapMib = BASE_MIB + Math.ceil((HEAP_FACTOR * maxBodyBytes) / 2 ** 20);
    this.#log = log;
    this.#retireAfterMs = retireAfterMs;
  }

  async read<Name extends BodyName>(task: StatementTask<Name>, wait: BodyWait): Promise<StatementBody<Name>> {
    return (await this.#read({ type: 'statements', ...task }, wait)) as StatementBody<Name>;
  }

  async readOther<Name extends OtherBodyName>(
    task: OtherTask<Name>,
    wait: BodyWait,
  ): Promise<OtherBodies[Name]> {
    return (await this.#read({ type: 'other', ...task }, wait)) as OtherBodies[Name];
  }

  /** Ends the threads; what they read, and what waits, fails with CLOSED. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { fail } of this.#turns.clear()) fail(closed());
    await Promise.all([...this.#threads].map(({ worker }) => worker.terminate()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #read(task: BodyTask, { owner, timeoutMs, signal }: BodyWait): Promise<ReadBody> {
    assert.equal(task.bytes.byteLength, task.bytes.buffer.byteLength, 'A body has a buffer of its own.');
    if (this.#closed) throw closed();
    if (signal.aborted) throw aborted();
    let timer: NodeJS.Timeout | undefined;
    let endWatch: (() => void) | undefined;
    try {
      const answer = await new Promise<BodyAnswer>((resolve, reject) => {
        const waiting: WaitingBody = { task, settle: resolve, fail: reject };
        const leave = (error: OnewriterError) => {
          this.#leave(owner, waiting);
          reject(error);
        };
        timer = setTimeout(() => leave(late()), Math.max(1, timeoutMs));
        endWatch = onAbort(signal, () => leave(aborted()));
        this.#turns.add(owner, waiting);
        this.#next();
      });
      if ('error' in answer) throw fromWireError(answer.error);
      return answer.body;
    } finally {
      clearTimeout(timer);
      endWatch?.();
    }
  }

  /** No caller waits for a body any more. */
  #leave(owner: string, waiting: WaitingBody): void {
    this.#turns.remove(owner, waiting);
    for (const thread of this.#threads) {
      const { running } = thread;
      if (running?.task !== waiting.task) continue;
      running.limitMs = Math.min(running.limitMs, cpuOf(thread, running) + GONE_CPU_MS);
      this.#check(thread, running);
    }
  }

  #next(): void {
    if (this.#closed || this.#turns.size === 0) return;
    this.#startAll();
    // First those that take no long bodies.
    const free = [...this.#threads].filter(({ ending, running }) => !ending && running === undefined);
    free.sort((a, b) => Number(a.isBackground) - Number(b.isBackground));
    const now = performance.now();
    for (const thread of free) {
      const turn = this.#turns.next(now, thread.isBackground);
      if (turn === undefined) continue;
      if (turn.isLong && thread.id !== undefined) {
        setThreadPriority(thread.id, 'background');
        thread.isNice = true;
      }
      this.#begin(thread, turn.owner, turn.body, now);
    }
  }

  /** Starts the threads that are missing. */
  #startAll(): void {
    const working = [...this.#threads].filter(({ ending }) => !ending);
    let hasBackground = working.some(({ isBackground }) => isBackground);
    for (let missing = THREADS - working.length; missing > 0; missing--) {
      if (this.#threads.size >= THREADS + MAX_ENDING) return;
      this.#start(!hasBackground);
      hasBackground = true;
    }
  }

  #begin(thread: BodyThread, owner: string, body: WaitingBody, sinceMs: number): void {
    clearTimeout(thread.retiring);
    const startMs = thread.cpuMs?.();
    const running: RunningBody = {
      ...body,
      owner,
      sinceMs,
      startMs,
      limitMs: MAX_CPU_MS,
      usedMs: undefined,
      timer: undefined,
    };
    thread.running = running;
    const { task } = body;
    thread.worker.postMessage(task, [task.bytes.buffer]);
    this.#check(thread, running);
  }

  /** Ends a thread whose body is over its time; else looks again when it may be. */
  #check(thread: BodyThread, running: RunningBody): void {
    clearTimeout(running.timer);
    if (thread.running !== running || thread.ending) return;
    const leftMs = running.limitMs - cpuOf(thread, running);
    if (leftMs > 0) {
      running.timer = setTimeout(() => this.#check(thread, running), Math.max(LEAST_CHECK_MS, leftMs));
      return;
    }
    thread.ending = true;
    // Of a thread that is gone it cannot be asked.
    running.usedMs = MAX_CPU_MS;
    void thread.worker.terminate();
    running.fail(tooSlow());
    // Until the thread is gone it counts as its owner's: who sends such bodies has one at a time, and none of the others' threads.
    this.#next();
  }

  #start(isBackground: boolean): void {
    const worker = new Worker(ENTRY, {
      resourceLimits: { maxOldGenerationSizeMb: this.#heapMib },
      // Not the gateway's own settings: secrets are among them.
      env: {},
      execArgv: [],
      stdin: false,
    });
    worker.unref();
    const thread: BodyThread = {
      worker,
      isBackground,
      id: undefined,
      cpuMs: undefined,
      running: undefined,
      isNice: false,
      retiring: undefined,
      ending: false,
    };
    this.#threads.add(thread);
    let cause: unknown;
    worker.on('message', (message: ThreadMessage) => {
      if (thread.ending) return;
      if (message.type === 'ready') {
        thread.id = message.id;
        thread.cpuMs = clockOf(message.id);
        if (thread.running !== undefined) thread.running.startMs = thread.cpuMs();
      } else this.#finish(thread, ({ settle }) => settle(message.answer));
    });
    worker.on('error', error => {
      cause = error;
    });
    worker.on('exit', () => {
      clearTimeout(thread.retiring);
      this.#threads.delete(thread);
      if (!this.#closed && !thread.ending) {
        thread.ending = true;
        this.#log.warn({ err: cause }, 'A thread that reads large bodies ended');
      }
      this.#finish(thread, ({ fail }) => fail(this.#closed ? closed() : lost(cause)));
    });
  }

  #retireLater(thread: BodyThread): void {
    clearTimeout(thread.retiring);
    thread.retiring = setTimeout(() => {
      if (thread.ending) return;
      thread.ending = true;
      void thread.worker.terminate();
    }, this.#retireAfterMs).unref();
  }

  #finish(thread: BodyThread, answer: (running: RunningBody) => void): void {
    const { running } = thread;
    thread.running = undefined;
    if (running !== undefined) {
      clearTimeout(running.timer);
      const now = performance.now();
      this.#turns.end(running.owner, now - running.sinceMs, now, running.usedMs ?? cpuOf(thread, running));
      answer(running);
    }
    this.#next();
    if (thread.isNice && thread.running === undefined && this.#threads.has(thread)) this.#retireLater(thread);
  }
}

/** CPU time of a body so far. The start of its thread does not count. */
function cpuOf(thread: BodyThread, { startMs }: RunningBody): number {
  return thread.cpuMs === undefined || startMs === undefined ? 0 : thread.cpuMs() - startMs;
}

/** @param id of a thread. @returns what its CPU time is, or about */
function clockOf(id: number | undefined): () => number {
  if (id === undefined || threadCpuMs(id) === undefined) return () => performance.now() / CLOCK_FACTOR;
  return () => threadCpuMs(id) ?? 0;
}

function tooSlow(): OnewriterError {
  const message = `The request body took more than ${MAX_CPU_MS} ms to read; send fewer values at a time.`;
  return new OnewriterError('PAYLOAD_TOO_LARGE', message);
}

function lost(cause: unknown): OnewriterError {
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    const message = 'The request body needs more memory than a body may take; send less at a time.';
    return new OnewriterError('PAYLOAD_TOO_LARGE', message, {}, cause);
  }
  return new OnewriterError('INTERNAL', 'A thread that reads large bodies ended.', {}, cause);
}

function late(): OnewriterError {
  return new OnewriterError('TIMEOUT', 'The deadline passed before the request body was read.');
}

function aborted(): OnewriterError {
  return new OnewriterError('ABORTED', 'The caller went away.');
}

function closed(): OnewriterError {
  return new OnewriterError('CLOSED', 'The gateway is closed.');
}
