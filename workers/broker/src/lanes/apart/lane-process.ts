import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { backOffMs } from '@onewriter/protocol';
import {
  ALLOCATOR_ENVIRONMENT,
  type BoundedProcess,
  type Logger,
  startBoundedProcess,
} from '@onewriter/runtime';
import { type LaneOutcome, type LaneTask, PROGRESS_BYTES } from '@onewriter/writer';
import type { CaptureConnection } from '../../replica/capture-link.ts';
import type { LaneRunner } from '../lane-thread.ts';
import type { ApartSettings, FromApartProcess, ToApartProcess } from './apart-messages.ts';
import { CaptureRelay } from './capture-relay.ts';

/*
 *            a task to apply             ready              its end, or its parent's
 *   absent ────────────────▶ starting ──────────▶ running ──────────────────────────▶ absent
 *      ▲                        │  does not start    │ kill, rest                        ▲
 *      └────────────────────────┴──── later ◀────────┴─────────▶ ending ─────────────────┘
 *
 * What is given to it while it starts or ends waits for the next `running`. What it had when it ended is rejected.
 */

type State = 'absent' | 'starting' | 'running' | 'ending';

const ENTRY = new URL('./apart-process.js', import.meta.url);
/** The next state may be one of these. */
const NEXT: Readonly<Record<State, readonly State[]>> = Object.freeze({
  absent: ['starting'],
  starting: ['running', 'ending', 'absent'],
  running: ['ending', 'absent'],
  ending: ['absent'],
});
/** A machine without CPU starts it late. */
const START_TIMEOUT_MS = 30_000;
const RESTART_PAUSES = Object.freeze({ firstMs: 100, maxMs: 10_000 });
/** Cell of the progress with the current job; see the lane. */
const JOB = 1;
const NO_JOB = -1;

interface Waiting {
  readonly id: number;
  readonly task: LaneTask;
  readonly resolve: (outcome: LaneOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** Settings of {@link LaneProcess}. */
export interface LaneProcessOptions {
  /** Memory that the kernel lets it have; an allocation beyond it fails. */
  readonly memoryBytes: number;
  readonly log: Logger;
  /** It can be watched from now on, until `onEnd`. */
  readonly onRunning?: (() => void) | undefined;
  readonly onEnd?: (() => void) | undefined;
  /** A batch was applied or refused. @param grownBytes by which the process had grown meanwhile */
  readonly onApplied?: ((tenant: string, grownBytes: number) => void) | undefined;
  /** Entry file of the process; default: the writer. */
  readonly entry?: URL | undefined;
}

/** Runs the tasks of one lane in a process of its own, which can be ended alone. It starts with the first task. */
export class LaneProcess implements LaneRunner {
  readonly progress = new Int32Array(new SharedArrayBuffer(PROGRESS_BYTES));
  /** Memory that its statements have, as last reported; of the running process. */
  statementBytes = 0;
  /** How often it ended in the middle of its work. */
  restarts = 0;
  readonly #options: LaneProcessOptions;
  #settings: ApartSettings | undefined;
  #state: State = 'absent';
  #process: BoundedProcess | undefined;
  /** Given and not sent. */
  #waiting: Waiting[] = [];
  /** Sent, in this order. */
  readonly #sent: Waiting[] = [];
  #lastId = 0;
  /** Memory before the task that it is at, and the most since. */
  #baseBytes = 0;
  #peakBytes = 0;
  /** Starts in a row that failed. */
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #endWaiters: (() => void)[] = [];
  #isKilled = false;
  #isDestroyed = false;
  #relay: CaptureRelay | undefined;

  constructor(options: LaneProcessOptions) {
    this.#options = options;
  }

  /** Undefined where there is none. */
  get pid(): number | undefined {
    return this.#process?.child.pid;
  }

  get running(): boolean {
    return this.#state === 'running';
  }

  configure(settings: ApartSettings): void {
    this.#settings = settings;
  }

  run(task: LaneTask): Promise<LaneOutcome> {
    if (this.#isDestroyed) return Promise.reject(new Error('The process apart was ended.'));
    const isTidying = task.kind !== 'apply' && task.kind !== 'group';
    // It has no file open.
    if (isTidying && this.#state === 'absent') return Promise.resolve({ kind: 'closed', tenants: [] });
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id: ++this.#lastId, task, resolve, reject });
      if (this.#state === 'running') this.#sendWaiting();
      else if (this.#state === 'absent') this.#startSoon();
    });
  }

  /** Each batch is a task of its own. */
  onItem(): void {}

  /** It starts again with the next task. */
  onIdleEnd(): void {}

  /** One connection for all its processes, one after the other. */
  connect(connection: CaptureConnection): void {
    this.#relay?.close();
    const request = () =>
      void this.#process?.child.send({ capture: true } satisfies ToApartProcess, () => {});
    this.#relay = new CaptureRelay(connection, request);
  }

  /** The relay stays where the process is replaced. */
  onStart(): void {}

  /** Ends it at once, whatever it does: what it has is rejected as not begun, because its end is not the fault of any of it. */
  async kill(): Promise<void> {
    if (this.#process === undefined) return;
    this.#isKilled = true;
    if (this.#state !== 'ending') this.#go('ending');
    this.#process.child.kill('SIGKILL');
    await new Promise<void>(resolve => this.#endWaiters.push(resolve));
  }

  rest(): void {
    if (this.#state === 'running' && this.#sent.length === 0) void this.kill();
  }

  async destroy(): Promise<void> {
    this.#isDestroyed = true;
    clearTimeout(this.#timer);
    this.#rejectAll(this.#waiting.splice(0), 'The process apart was ended.');
    await this.kill();
    this.#relay?.close();
  }

  #go(next: State): void {
    assert(NEXT[this.#state].includes(next), `the process apart went from ${this.#state} to ${next}`);
    this.#state = next;
  }

  #startSoon(): void {
    if (this.#timer !== undefined) return;
    if (this.#failures === 0) this.#start();
    else {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          if (this.#state === 'absent' && this.#waiting.length > 0) this.#start();
        },
        backOffMs(this.#failures, RESTART_PAUSES),
      );
    }
  }

  #start(): void {
    assert(this.#settings !== undefined, 'the process apart has a task and no settings');
    this.#go('starting');
    this.#isKilled = false;
    let started: BoundedProcess;
    try {
      started = startBoundedProcess(this.#options.entry ?? ENTRY, {
        memoryBytes: this.#options.memoryBytes,
        stdout: 'ignore',
        args: [JSON.stringify(this.#settings)],
        env: ALLOCATOR_ENVIRONMENT,
      });
    } catch (error) {
      // The machine has no memory for one.
      this.#onClose(String(error), '');
      return;
    }
    this.#process = started;
    const { child } = started;
    child.on('message', message => this.#onMessage(message as FromApartProcess));
    child.on('error', () => {}); // 'close' follows, or sending failed because it has
    child.once('close', (code, signal) => this.#onClose(signal ?? `code ${code}`, started.stderr()));
    this.#timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  }

  #sendWaiting(): void {
    for (const waiting of this.#waiting.splice(0)) {
      if (this.#sent.length === 0) this.#begin(waiting);
      this.#sent.push(waiting);
      const { id, task } = waiting;
      // A process that has ended says so by 'close'.
      this.#process?.child.send({ id, task } satisfies ToApartProcess, () => {});
    }
  }

  /** Whatever ends the process from now on may be the task's fault. */
  #begin({ task }: Waiting): void {
    this.#baseBytes = this.statementBytes;
    this.#peakBytes = this.statementBytes;
    if (task.kind === 'apply') Atomics.store(this.progress, JOB, 0);
  }

  #onMessage(message: FromApartProcess): void {
    if (message.type === 'captured') {
      this.#relay?.pass(message.message);
      return;
    }
    if (this.#state === 'absent' || this.#state === 'ending') return;
    this.statementBytes = message.bytes;
    this.#peakBytes = Math.max(this.#peakBytes, message.bytes);
    switch (message.type) {
      case 'ready':
        clearTimeout(this.#timer);
        this.#timer = undefined;
        this.#failures = 0;
        this.#go('running');
        this.#options.onRunning?.();
        this.#sendWaiting();
        break;
      case 'position':
        if (this.#sent[0]?.task.kind === 'apply') this.#takePosition(message.cells);
        break;
      case 'outcome':
        this.#settle(message.id, ({ resolve, task }) => {
          if (task.kind === 'apply')
            this.#options.onApplied?.(task.tenant, this.#peakBytes - this.#baseBytes);
          resolve(message.outcome);
        });
        break;
      case 'fault':
        this.#settle(message.id, ({ reject }) => reject(new Error(message.message)));
        break;
      default:
        message satisfies never;
    }
  }

  /** All but the count of a group, of which there is none. */
  #takePosition([, job = 0, op = 0, , atFiles = 0]: readonly number[]): void {
    Atomics.store(this.progress, JOB, job);
    Atomics.store(this.progress, 2, op);
    Atomics.store(this.progress, 4, atFiles);
  }

  #settle(id: number, settle: (sent: Waiting) => void): void {
    const first = this.#sent.shift();
    assert(first?.id === id, 'the process apart answered out of turn');
    settle(first);
    const next = this.#sent[0];
    if (next !== undefined) this.#begin(next);
  }

  #onClose(how: string, stderr: string): void {
    const { log, onEnd } = this.#options;
    const wasStarting = this.#state === 'starting';
    const isKilled = this.#isKilled;
    if (this.#sent.length > 0) this.restarts++;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#process = undefined;
    this.#go('absent');
    this.#forgetNote();
    onEnd?.();
    if (!isKilled) {
      log.error(
        { how, stderr: stderr.trim().slice(-1_000) || undefined, tenant: tenantOf(this.#sent[0]?.task) },
        wasStarting
          ? 'The process for jobs that run apart did not start'
          : 'The process for jobs that run apart ended; its job is counted as one that ends its process',
      );
    }
    // Its end is no job's fault, or that of a write that is known.
    if (isKilled || wasStarting) Atomics.store(this.progress, JOB, NO_JOB);
    this.statementBytes = 0;
    if (wasStarting && !isKilled) {
      this.#failures++;
      this.#rejectAll(this.#waiting.splice(0), 'The process for jobs that run apart did not start.');
    }
    const [first, ...others] = this.#sent.splice(0);
    if (first !== undefined) {
      if (first.task.kind !== 'apply') Atomics.store(this.progress, JOB, NO_JOB);
      this.#rejectAll([first], `The process for jobs that run apart ended (${how}).`);
    }
    // They were not begun.
    this.#waiting = [...others, ...this.#waiting];
    for (const resolve of this.#endWaiters.splice(0)) resolve();
    if (this.#isDestroyed) this.#rejectAll(this.#waiting.splice(0), 'The process apart was ended.');
    this.#dropTidying();
    if (this.#waiting.length > 0) this.#startSoon();
  }

  /** With the process its connections are closed. */
  #dropTidying(): void {
    this.#waiting = this.#waiting.filter(({ task, resolve }) => {
      if (task.kind === 'apply' || task.kind === 'group') return true;
      resolve({ kind: 'closed', tenants: [] });
      return false;
    });
  }

  #rejectAll(tasks: readonly Waiting[], message: string): void {
    for (const { reject } of tasks) reject(new Error(message));
  }

  /** Its end is counted here, so that the next leader does not count it again. */
  #forgetNote(): void {
    const path = this.#settings?.runningNote;
    if (path === undefined) return;
    try {
      rmSync(path, { force: true });
    } catch (error) {
      this.#options.log.warn({ err: error }, 'The note of the process apart could not be removed');
    }
  }
}

function tenantOf(task: LaneTask | undefined): string | undefined {
  return task?.kind === 'apply' ? task.tenant : undefined;
}
