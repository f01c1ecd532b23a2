import type { ChildProcess } from 'node:child_process';
import { restartDelayMs } from './back-off.ts';
import type { UpLog } from './log.ts';
import { type ChildCommand, RunningChild } from './running-child.ts';

/*
 * A child that has done all of its start that can be done beforehand, and takes the place of one that ends.
 *
 *   none ──keep()──▶ due ──▶ starting ──waits──▶ waiting
 *    ▲                ▲          │ exit             │ exit
 *    │                └──────────┴──────────────────┘ with a growing pause
 *    └──take()── starting, waiting
 */

/** Options of a {@link SpareProcess}. */
export interface SpareProcessOptions {
  /** For log lines. */
  readonly name: string;
  readonly command: () => ChildCommand | Promise<ChildCommand>;
  /** Resolves when the child waits. Rejects when `signal` aborts: the child has ended. */
  readonly whenWaiting: (child: ChildProcess, signal: AbortSignal) => Promise<void>;
  /** Called with false when one is to come, and with true when it waits. */
  readonly onChange: (waits: boolean) => void;
  /** Has a child that waits do the rest of its start. */
  readonly takeOver: (child: ChildProcess) => void;
  readonly onLine: (line: string) => void;
  readonly log: UpLog;
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number;
  /** From {@link SpareProcess.keep} to the start: what was started just now needs the machine first. */
  readonly delayMs: number;
}

/** A spare that was taken; its taker is responsible for it from then on. */
export interface TakenSpare {
  readonly child: RunningChild;
  /** Has it do the rest of its start, when it waits. */
  readonly takeOver: (signal: AbortSignal) => Promise<void>;
}

interface Held {
  readonly child: RunningChild;
  waits: boolean;
}

export class SpareProcess {
  readonly #options: SpareProcessOptions;
  #held: Held | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #stopped = false;

  constructor(options: SpareProcessOptions) {
    this.#options = options;
  }

  /** Pid of the spare; 0: none. */
  get pid(): number {
    return this.#held?.child.process.pid ?? 0;
  }

  /** Whether one waits. */
  get waits(): boolean {
    return this.#held?.waits === true;
  }

  /** Sees to it that there is one. */
  keep(): void {
    this.#options.onChange(this.waits);
    if (this.#held === undefined) this.#startIn(this.#options.delayMs);
  }

  /** Hands over the spare, also one that is still starting: it is ready before a new one would be. */
  take(): TakenSpare | undefined {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = this.#held;
    if (held === undefined || this.#stopped) return undefined;
    this.#held = undefined;
    const { child } = held;
    const { whenWaiting, takeOver } = this.#options;
    return {
      child,
      takeOver: async signal => {
        if (!held.waits) await whenWaiting(child.process, signal);
        signal.throwIfAborted();
        takeOver(child.process);
      },
    };
  }

  /** Ends it and starts no other. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const child = this.#held?.child;
    if (child === undefined) return;
    const timer = setTimeout(() => child.process.kill('SIGKILL'), this.#options.graceMs);
    child.process.kill('SIGTERM');
    await child.exited;
    clearTimeout(timer);
  }

  /** Ends it at once and starts no other. */
  kill(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#held?.child.process.kill('SIGKILL');
  }

  #startIn(delayMs: number): void {
    if (this.#stopped || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#start();
    }, delayMs);
  }

  async #start(): Promise<void> {
    const { name, command, whenWaiting, onLine, log } = this.#options;
    const toRun = await command();
    if (this.#stopped || this.#held !== undefined) return;
    const onError = (error: Error) => log('error', error.message, name);
    const child = new RunningChild(toRun, { onLine, onError });
    const held: Held = { child, waits: false };
    this.#held = held;
    const never = new AbortController();
    whenWaiting(child.process, never.signal).then(
      () => {
        held.waits = true;
        this.#failures = 0;
        if (this.#held !== held) return;
        log('info', `${name} is ready (pid ${child.process.pid})`);
        this.#options.onChange(true);
      },
      () => {}, // not aborted: its end is seen below
    );
    await child.exited;
    // It was taken: its taker handles its end.
    if (this.#held !== held) return;
    this.#held = undefined;
    if (this.#stopped) return;
    // One that does not come up is not announced again and again.
    if (held.waits) this.#options.onChange(false);
    const pauseMs = Math.round(restartDelayMs(++this.#failures) + this.#options.delayMs);
    log(
      'error',
      `${name} ended (${child.spawnError?.message ?? child.ending}); starting it again in ${pauseMs} ms`,
    );
    this.#startIn(pauseMs);
  }
}
