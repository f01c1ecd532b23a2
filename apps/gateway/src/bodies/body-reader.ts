import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { fromWireError, OnewriterError, onAbort } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { BodyAnswer, BodyTask } from './body-messages.ts';
import type { BodyName, StatementBody } from './statement-body.ts';

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
   * @throws OnewriterError as readStatementBody() and sealStatementBody(); TIMEOUT, ABORTED, CLOSED; PAYLOAD_TOO_LARGE where it takes too
   *   much memory
   */
  read<Name extends BodyName>(
    task: BodyTask & { readonly name: Name },
    wait: BodyWait,
  ): Promise<StatementBody<Name>>;
}

const ENTRY = new URL('./body-thread.js', import.meta.url);
/** What is not bytes of the body. */
const BASE_MIB = 64;
/** A body of many small values takes so many times its size in the heap, with what is made of it. */
const HEAP_FACTOR = 48;
/** A body takes a second at most; what takes longer has met a fault. */
const MAX_RUN_MS = 10_000;

interface WaitingBody {
  readonly task: BodyTask;
  settle(answer: BodyAnswer): void;
  fail(error: OnewriterError): void;
}

/**
 * One thread that reads large bodies, one at a time, owners in turns. Bodies wait in memory that `Shares` of bodies bound. It starts with
 * the first one.
 */
export class BodyThread implements BodyReader, AsyncDisposable {
  readonly #heapMib: number;
  readonly #log: Logger;
  /** By owner; the first owner is next. */
  readonly #waiting = new Map<string, WaitingBody[]>();
  #worker: Worker | undefined;
  #running: WaitingBody | undefined;
  #limit: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(maxBodyBytes: number, log: Logger) {
    this.#heapMib = BASE_MIB + Math.ceil((HEAP_FACTOR * maxBodyBytes) / 2 ** 20);
    this.#log = log;
  }

  async read<Name extends BodyName>(
    task: BodyTask & { readonly name: Name },
    { owner, timeoutMs, signal }: BodyWait,
  ): Promise<StatementBody<Name>> {
    assert.equal(task.bytes.byteLength, task.bytes.buffer.byteLength, 'A body has a buffer of its own.');
    if (this.#closed) throw closed();
    if (signal.aborted) throw aborted();
    let timer: NodeJS.Timeout | undefined;
    let endWatch: (() => void) | undefined;
    try {
      const answer = await new Promise<BodyAnswer>((resolve, reject) => {
        const waiting: WaitingBody = { task, settle: resolve, fail: reject };
        const leave = (error: OnewriterError) => {
          this.#drop(owner, waiting);
          reject(error);
        };
        timer = setTimeout(() => leave(late()), Math.max(1, timeoutMs));
        endWatch = onAbort(signal, () => leave(aborted()));
        const own = this.#waiting.get(owner);
        if (own === undefined) this.#waiting.set(owner, [waiting]);
        else own.push(waiting);
        this.#next();
      });
      if ('error' in answer) throw fromWireError(answer.error);
      return answer.body as StatementBody<Name>;
    } finally {
      clearTimeout(timer);
      endWatch?.();
    }
  }

  /** Ends the thread; what it reads, and what waits, fails with CLOSED. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const own of this.#waiting.values()) for (const { fail } of own) fail(closed());
    this.#waiting.clear();
    await this.#worker?.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #drop(owner: string, waiting: WaitingBody): void {
    const left = this.#waiting.get(owner)?.filter(other => other !== waiting);
    if (left === undefined) return;
    // Another waiting body keeps its owner's turn.
    if (left.length > 0) this.#waiting.set(owner, left);
    else this.#waiting.delete(owner);
  }

  #next(): void {
    if (this.#running !== undefined) return;
    const [first] = this.#waiting;
    if (first === undefined) return;
    const [owner, own] = first;
    const next = own.shift()!;
    this.#waiting.delete(owner);
    if (own.length > 0) this.#waiting.set(owner, own);
    this.#running = next;
    this.#worker ??= this.#start();
    this.#limit = setTimeout(() => void this.#worker?.terminate(), MAX_RUN_MS);
    this.#worker.postMessage(next.task, [next.task.bytes.buffer]);
  }

  #start(): Worker {
    const worker = new Worker(ENTRY, {
      resourceLimits: { maxOldGenerationSizeMb: this.#heapMib },
      // Not the gateway's own settings: secrets are among them.
      env: {},
      execArgv: [],
      stdin: false,
    });
    worker.unref();
    let cause: unknown;
    worker.on('message', (answer: BodyAnswer) => this.#finish(({ settle }) => settle(answer)));
    worker.on('error', error => {
      cause = error;
    });
    worker.on('exit', () => {
      this.#worker = undefined;
      if (!this.#closed) this.#log.warn({ err: cause }, 'The thread that reads large bodies ended');
      this.#finish(({ fail }) => fail(this.#closed ? closed() : lost(cause)));
    });
    return worker;
  }

  #finish(answer: (running: WaitingBody) => void): void {
    const running = this.#running;
    this.#running = undefined;
    clearTimeout(this.#limit);
    if (running !== undefined) answer(running);
    if (!this.#closed) this.#next();
  }
}

function lost(cause: unknown): OnewriterError {
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    const message = 'The request body needs more memory than a body may take; send less at a time.';
    return new OnewriterError('PAYLOAD_TOO_LARGE', message, {}, cause);
  }
  return new OnewriterError('INTERNAL', 'The thread that reads large bodies ended.', {}, cause);
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
