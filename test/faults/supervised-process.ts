import { appendFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { type ProcessExit, type SpawnedProcess, spawnProcess, waitFor } from '@onewriter/testkit';
import { FaultFailure } from './fault-failure.ts';
import { monotonicMs } from './journal.ts';

/** Length of the log in a failure. */
const LAST_LINES = 15;

/** How a process is started. */
export interface Launch {
  /** For messages and the log's name. */
  readonly name: string;
  readonly main: string;
  readonly args?: readonly string[] | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What it prints is appended to this file when it ends. */
  readonly logFile: string;
}

/** What an announcement of readiness holds. */
interface ReadyMessage {
  readonly type: 'ready';
  readonly port?: number;
}

/** One process from start to end. */
export class Incarnation {
  readonly process: SpawnedProcess;
  readonly startedAt = monotonicMs();

  constructor(process: SpawnedProcess) {
    this.process = process;
  }

  get ended(): boolean {
    const { exitCode, signalCode } = this.process.child;
    return exitCode !== null || signalCode !== null;
  }

  /** Undefined before it is ready. */
  get ready(): ReadyMessage | undefined {
    return this.process.messages.find(
      (message): message is ReadyMessage => (message as ReadyMessage).type === 'ready',
    );
  }
}

/** Pause before a process that ended is started again, as a supervisor makes one. */
const RESTART_PAUSE_MS = 30;

/** A process that is started again whenever it ends, as `onewriter up` and Kubernetes do. */
export class SupervisedProcess {
  readonly name: string;
  readonly #launch: () => Launch;
  #current: Incarnation | undefined;
  #supervising = true;
  #held = false;
  #running: Promise<void> | undefined;
  #starts = 0;
  /** How each incarnation ended. */
  readonly exits: (ProcessExit & { readonly at: number })[] = [];

  /** @param launch asked before each start, so that settings can change. */
  constructor(name: string, launch: () => Launch) {
    this.name = name;
    this.#launch = launch;
  }

  /** Starts it and keeps it running. Resolves when it is ready for the first time. */
  async start(timeoutMs = 20_000): Promise<void> {
    this.#running = this.#supervise();
    await this.waitUntilReady(timeoutMs);
  }

  /** Waits until the incarnation of that moment, or a later one, is ready. */
  async waitUntilReady(timeoutMs = 20_000): Promise<Incarnation> {
    return waitFor(() => (this.#current?.ready && !this.#current.ended ? this.#current : undefined), {
      timeoutMs,
      what: `${this.name} to be ready`,
      intervalMs: 5,
    });
  }

  /** Undefined between two incarnations. */
  get current(): Incarnation | undefined {
    return this.#current?.ended === false ? this.#current : undefined;
  }

  get pid(): number | undefined {
    return this.current?.process.pid;
  }

  get starts(): number {
    return this.#starts;
  }

  /** The log of the current incarnation; '' where there is none. */
  get url(): string {
    return `http://127.0.0.1:${this.#current?.ready?.port ?? 0}`;
  }

  /** What the current incarnation printed. */
  logs(): string {
    return this.#current?.process.logs() ?? '';
  }

  /** Sends the current incarnation a signal. @returns whether there was one. */
  signal(signal: NodeJS.Signals): boolean {
    const { current } = this;
    current?.process.kill(signal);
    return current !== undefined;
  }

  /** kill -9 of the current incarnation, if there is one. Resolves when it is gone. */
  async kill(): Promise<void> {
    const { current } = this;
    current?.process.kill('SIGKILL');
    await current?.process.exited;
  }

  /** From now on, and until `false`: it is not started again when it ends. */
  hold(held: boolean): void {
    this.#held = held;
  }

  /** SIGTERM, and it is not started again. @throws FaultFailure where it does not end cleanly in time. */
  async stop(graceMs: number): Promise<void> {
    this.#supervising = false;
    this.#held = false;
    if (this.#running === undefined) return;
    // Before it is ready, SIGTERM just ends it.
    const current = this.current === undefined ? undefined : await this.waitUntilReady();
    if (current !== undefined) {
      const exit = await current.process.stop(graceMs);
      await this.#running;
      if (exit.signal !== null || exit.code !== 0) {
        const last = current.process.logs().trimEnd().split('\n').slice(-LAST_LINES);
        throw new FaultFailure(
          `${this.name} did not end cleanly at SIGTERM within ${graceMs} ms: ${describeExit(exit)}\n${last.join('\n')}`,
        );
      }
    }
    await this.#running;
  }

  /** kill -9, and it is not started again. */
  async destroy(): Promise<void> {
    this.#supervising = false;
    this.#held = false;
    this.signal('SIGKILL');
    await this.#running;
  }

  async #supervise(): Promise<void> {
    while (this.#supervising) {
      if (this.#held) {
        await pause(5);
        continue;
      }
      const { main, args = [], env, logFile } = this.#launch();
      const child = await spawnProcess(process.execPath, [main, ...args], { ipc: true, env });
      this.#starts++;
      this.#current = new Incarnation(child);
      const exit = await child.exited;
      this.exits.push({ ...exit, at: monotonicMs() });
      appendFileSync(logFile, `--- pid ${child.pid}\n${child.logs()}--- ended: ${describeExit(exit)}\n`);
      if (this.#supervising) await pause(RESTART_PAUSE_MS);
    }
  }
}

export function describeExit({ code, signal }: ProcessExit): string {
  return signal === null ? `exit code ${code}` : signal;
}
