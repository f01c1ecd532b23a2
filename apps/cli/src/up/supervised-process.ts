import type { ChildProcess } from 'node:child_process';
import { OnewriterError } from '@onewriter/protocol';
import { BACK_OFF, restartDelayMs } from './back-off.ts';
import type { UpLog } from './log.ts';
import { type ChildCommand, RunningChild } from './running-child.ts';
import { SpareProcess, type SpareProcessOptions } from './spare-process.ts';

/*
 * One child process that is to run for as long as `onewriter up` does.
 *
 *   starting ──ready──▶ ready ──exit──▶ backing off ──▶ starting …
 *      │ exit, or not ready in time: after the third attempt of the first start, start() rejects;
 *      │ later, back-off for as long as it takes
 *   any state ──stop()──▶ SIGTERM ──exit, or SIGKILL after the grace period──▶ stopped
 */

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
  /** When it is not started again, although it served once. Default: never. */
  readonly givesUp?: GivesUp | undefined;
  /** A child that ends by this signal does so on purpose: it is started again at once, and that counts as no failure. */
  readonly replacedSignal?: NodeJS.Signals | undefined;
  /** A second process that takes the place of one that ends; none: a new one is started then. */
  readonly spare?:
    | (Pick<SpareProcessOptions, 'command' | 'whenWaiting' | 'takeOver' | 'delayMs'> & {
        /** Says to the child whether a spare waits. */
        readonly notify: (child: ChildProcess, waits: boolean) => void;
      })
    | undefined;
}

/** Attempts of the first start; a process that served once is restarted for ever. */
const FIRST_START_ATTEMPTS = 3;

/** A spare that waits needs some milliseconds; one that is stopped or hangs is killed, and a new process is started. */
const TAKE_OVER_MS = 5_000;

export class SupervisedProcess<Ready> {
  readonly #options: SupervisedProcessOptions<Ready>;
  readonly #spare: SpareProcess | undefined;
  #child: RunningChild | undefined;
  #exited: Promise<void> = Promise.resolve();
  /** Output of the previous attempt. */
  #recentLines: readonly string[] = [];
  #failures = 0;
  #stopping: Promise<void> | undefined;
  #restartTimer: NodeJS.Timeout | undefined;
  /** Since when all attempts fail as {@link GivesUp} says; on the monotonic clock, ms. */
  #hopelessSince: number | undefined;

  constructor(options: SupervisedProcessOptions<Ready>) {
    this.#options = options;
    const { name, spare, onLine, log, graceMs } = options;
    if (spare === undefined) return;
    const onChange = (waits: boolean) => {
      if (this.#child !== undefined) spare.notify(this.#child.process, waits);
    };
    this.#spare = new SpareProcess({ ...spare, name: `the spare ${name}`, onLine, log, graceMs, onChange });
  }

  /** Pid of the child that runs now; 0 while none runs. */
  get pid(): number {
    return this.#child?.process.pid ?? 0;
  }

  /** Pid of the spare; 0: there is none now. */
  get sparePid(): number {
    return this.#spare?.pid ?? 0;
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
    this.#spare?.kill();
    this.#child?.process.kill('SIGKILL');
  }

  async #launch(): Promise<Ready> {
    const { name, whenReady, onReady, onLine, log, startTimeoutMs } = this.#options;
    const startedAt = performance.now();
    const isWaiting = this.#spare?.waits === true;
    const spare = this.#spare?.take();
    const command = await this.#options.command(this.#recentLines.join('\n'));
    if (this.#stopping !== undefined) {
      spare?.child.process.kill('SIGKILL');
      await spare?.child.exited;
      throw new OnewriterError('CLOSED', `${name} is being stopped.`);
    }
    const onError = (error: Error) => log('error', error.message, name);
    const child = spare?.child ?? new RunningChild(command, { onLine, onError });
    this.#child = child;
    let ready = false;
    this.#exited = child.exited.then(() => {
      this.#child = undefined;
      this.#recentLines = child.recentLines;
      if (!ready) return;
      const { replacedSignal } = this.#options;
      if (replacedSignal !== undefined && child.process.signalCode === replacedSignal) this.#replace();
      else this.#restartLater(child.ending, performance.now() - startedAt);
    });
    try {
      const result = await child.until(
        async signal => {
          const serving = whenReady(child.process, signal);
          // Handled here, because nothing awaits it where takeOver() rejects.
          serving.catch(() => {});
          await spare?.takeOver(signal);
          return serving;
        },
        isWaiting ? Math.min(TAKE_OVER_MS, startTimeoutMs) : startTimeoutMs,
      );
      ready = true;
      onReady?.(result, child.process.pid!);
      if (this.#stopping === undefined) this.#spare?.keep();
      return result;
    } catch (cause) {
      child.process.kill('SIGKILL');
      await this.#exited;
      const { spawnError } = child;
      if (spawnError !== undefined) throw cannotRun(name, command.file, spawnError);
      const { message } = cause as Error;
      const how = message === 'it ended' ? child.ending : message;
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
    const what = this.#spare?.waits ? 'its spare takes over' : 'starting it again at once';
    log('warn', `${name} ended to be replaced; ${what}`);
    this.#restartIn(0);
  }

  #restartLater(how: string, livedMs: number): void {
    if (this.#stopping !== undefined) return;
    this.#failures = livedMs > BACK_OFF.healthyAfterMs ? 1 : this.#failures + 1;
    const { name, log } = this.#options;
    // If it ends several times in a row, only the first can be an accident of this process.
    if (this.#failures === 1 && this.#spare?.waits) {
      log('error', `${name} ended (${how}); its spare takes over`);
      this.#restartIn(0);
      return;
    }
    const delayMs = restartDelayMs(this.#failures);
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
    await Promise.all([this.#spare?.stop(), this.#stopChild()]);
  }

  async #stopChild(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const { name, graceMs, log } = this.#options;
    const timer = setTimeout(() => {
      log('warn', `${name} did not drain within ${graceMs} ms and is killed`);
      child.process.kill('SIGKILL');
    }, graceMs);
    child.process.kill('SIGTERM');
    await this.#exited;
    clearTimeout(timer);
  }
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
