import { type ChildProcess, spawn } from 'node:child_process';
import { OnewriterError } from '@onewriter/protocol';
import { BACK_OFF, restartDelayMs } from './back-off.ts';
import { createLineSplitter } from './line-splitter.ts';
import type { UpLog } from './log.ts';

/*
 * One child process that is to run for as long as `onewriter up` does.
 *
 *   starting ──ready──▶ ready ──exit──▶ backing off ──▶ starting …
 *      │ exit, or not ready in time: after the third attempt of the first start, start() rejects;
 *      │ later, back-off for as long as it takes
 *   any state ──stop()──▶ SIGTERM ──exit, or SIGKILL after the grace period──▶ stopped
 */

/** What to run. */
export interface ChildCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Opens an IPC channel, for the child's ready message and so that it notices the end of its parent. */
  readonly ipc?: boolean | undefined;
}

/** Failures to start that do not pass: a person has to act. */
export interface GivesUp {
  /** Whether the output of an attempt says so. */
  readonly when: (output: string) => boolean;
  /** All attempts for so long have to. */
  readonly afterMs: number;
  /** Called once. */
  readonly onGivenUp: (error: Error) => void;
}

/** Description of a supervised process. */
export interface SupervisedProcessOptions<Ready> {
  /** Short name for log lines. */
  readonly name: string;
  /** Asked before each start, with the output of the attempt that failed before it, if there was one. */
  readonly command: (failedOutput: string) => ChildCommand | Promise<ChildCommand>;
  /** Resolves when the child serves. Rejects when `signal` aborts: the child has ended, or took too long. */
  readonly whenReady: (child: ChildProcess, signal: AbortSignal) => Promise<Ready>;
  /** After each start. */
  readonly onReady?: ((ready: Ready, pid: number) => void) | undefined;
  /** Each line the child prints. */
  readonly onLine: (line: string) => void;
  readonly log: UpLog;
  /** A child that is not ready after this is killed. */
  readonly startTimeoutMs: number;
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number;
  /** When it is started again no more, although it served once. Default: never. */
  readonly givesUp?: GivesUp | undefined;
  /** A child that ends by this signal does so on purpose: it is started again at once, and that counts as no failure. */
  readonly replacedSignal?: NodeJS.Signals | undefined;
}

/** Attempts of the first start; a process that served once is restarted for ever. */
const FIRST_START_ATTEMPTS = 3;

/** Lines kept to tell why a child ended. */
const KEPT_LINES = 30;

export class SupervisedProcess<Ready> {
  readonly #options: SupervisedProcessOptions<Ready>;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #recentLines: string[] = [];
  #failures = 0;
  #stopping: Promise<void> | undefined;
  #restartTimer: NodeJS.Timeout | undefined;
  /** Since when all attempts fail as {@link GivesUp} says; on the monotonic clock, ms. */
  #hopelessSince: number | undefined;

  constructor(options: SupervisedProcessOptions<Ready>) {
    this.#options = options;
  }

  /** Of the child that runs now; 0 while none runs. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Starts the child. @throws OnewriterError MISCONFIGURED with the child's last line if it does not come up. */
  async start(): Promise<Ready> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#launch();
      } catch (error) {
        if (attempt === FIRST_START_ATTEMPTS || this.#stopping !== undefined) throw error;
        await new Promise(resolve => setTimeout(resolve, restartDelayMs(attempt)));
      }
    }
  }

  /** Ends the child and keeps it ended. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** Ends the child at once. */
  kill(): void {
    this.#stopping ??= this.#exited;
    clearTimeout(this.#restartTimer);
    this.#child?.kill('SIGKILL');
  }

  async #launch(): Promise<Ready> {
    const { name, whenReady, onReady, onLine, log, startTimeoutMs } = this.#options;
    const command = await this.#options.command(this.#recentLines.join('\n'));
    if (this.#stopping !== undefined) throw new OnewriterError('CLOSED', `${name} is being stopped.`);
    this.#recentLines = [];
    const child = spawn(command.file, command.args, {
      env: command.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe', ...(command.ipc ? (['ipc'] as const) : [])],
      // A process group of its own: Ctrl-C in the terminal reaches `up` alone, which ends the children in order.
      detached: true,
    });
    this.#child = child;
    const started = performance.now();
    const over = new AbortController();
    const timer = setTimeout(() => {
      over.abort(new Error(`not ready after ${startTimeoutMs} ms`));
      child.kill('SIGKILL');
    }, startTimeoutMs);
    let ready = false;
    let spawnError: Error | undefined;
    this.#exited = new Promise(resolve => {
      // 'exit' is followed by 'close' when the output has been read; a program that is not there has neither.
      child.once('error', error => {
        if (child.pid === undefined) {
          spawnError = error;
          over.abort(error);
          resolve();
        } else {
          log('error', error.message, name);
        }
      });
      child.once('close', () => {
        over.abort(new Error('it ended'));
        resolve();
      });
    });
    for (const stream of [child.stdout!, child.stderr!]) {
      const splitter = createLineSplitter(line => {
        this.#recentLines.push(line);
        if (this.#recentLines.length > KEPT_LINES) this.#recentLines.shift();
        onLine(line);
      });
      stream.setEncoding('utf8').on('data', splitter.push).on('end', splitter.end);
    }
    void this.#exited.then(() => {
      clearTimeout(timer);
      this.#child = undefined;
      if (!ready) return;
      const { replacedSignal } = this.#options;
      if (replacedSignal !== undefined && child.signalCode === replacedSignal) this.#replace();
      else this.#restartLater(howItEnded(child), performance.now() - started);
    });
    try {
      const result = await whenReady(child, over.signal);
      over.signal.throwIfAborted();
      clearTimeout(timer);
      ready = true;
      onReady?.(result, child.pid!);
      return result;
    } catch (cause) {
      clearTimeout(timer);
      child.kill('SIGKILL');
      await this.#exited;
      if (spawnError !== undefined) throw cannotRun(name, command.file, spawnError);
      const reason = over.signal.aborted ? (over.signal.reason as Error).message : (cause as Error).message;
      const how = reason === 'it ended' ? howItEnded(child) : reason;
      throw new OnewriterError(
        'MISCONFIGURED',
        `${name} did not start (${how}): ${lastWords(this.#recentLines)}`,
        {},
        cause,
      );
    }
  }

  #replace(): void {
    if (this.#stopping !== undefined) return;
    const { name, log } = this.#options;
    log('warn', `${name} ended to be replaced; starting it again at once`);
    this.#restartIn(0);
  }

  #restartLater(how: string, livedMs: number): void {
    if (this.#stopping !== undefined) return;
    this.#failures = livedMs > BACK_OFF.healthyAfterMs ? 1 : this.#failures + 1;
    const delayMs = restartDelayMs(this.#failures);
    const { name, log } = this.#options;
    log('error', `${name} ended (${how}); starting it again in ${delayMs} ms`);
    this.#restartIn(delayMs);
  }

  #restartIn(delayMs: number): void {
    const { name, log } = this.#options;
    this.#restartTimer = setTimeout(() => {
      this.#launch().then(
        () => {
          this.#hopelessSince = undefined;
          log('info', `${name} is back (pid ${this.pid})`);
        },
        error => {
          if (this.#stopping !== undefined) return;
          if (this.#isHopeless()) this.#options.givesUp?.onGivenUp(error as Error);
          else this.#restartLater((error as Error).message, 0);
        },
      );
    }, delayMs);
  }

  #isHopeless(): boolean {
    const { givesUp } = this.#options;
    if (givesUp?.when(this.#recentLines.join('\n')) !== true) {
      this.#hopelessSince = undefined;
      return false;
    }
    this.#hopelessSince ??= performance.now();
    return performance.now() - this.#hopelessSince >= givesUp.afterMs;
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (child === undefined) return;
    const { name, graceMs, log } = this.#options;
    const timer = setTimeout(() => {
      log('warn', `${name} did not drain within ${graceMs} ms and is killed`);
      child.kill('SIGKILL');
    }, graceMs);
    child.kill('SIGTERM');
    await this.#exited;
    clearTimeout(timer);
  }
}

function howItEnded(child: ChildProcess): string {
  return child.signalCode === null ? `exit code ${child.exitCode}` : `signal ${child.signalCode}`;
}

function cannotRun(name: string, file: string, cause: Error): OnewriterError {
  return new OnewriterError('MISCONFIGURED', `${name} cannot be run: ${file}: ${cause.message}`, {}, cause);
}

/** The message of the last line that says something: of a pino record the error's or its own. */
function lastWords(lines: readonly string[]): string {
  for (const line of lines.toReversed()) {
    if (line.trim() === '') continue;
    if (!line.startsWith('{')) return line.trim();
    try {
      const record = JSON.parse(line) as { msg?: string; err?: { message?: string } };
      return record.err?.message ?? record.msg ?? line;
    } catch {
      return line;
    }
  }
  return 'it printed nothing';
}
