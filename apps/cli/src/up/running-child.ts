import { type ChildProcess, spawn } from 'node:child_process';
import { createLineSplitter } from './line-splitter.ts';

/** What to run. */
export interface ChildCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Opens an IPC channel, for the child's messages and so that it notices the end of its parent. */
  readonly ipc?: boolean | undefined;
}

/** Options of a {@link RunningChild}. */
export interface RunningChildOptions {
  /** Each line the child prints. */
  readonly onLine: (line: string) => void;
  /** An error of the child's that does not end it, such as a message that could not be sent. */
  readonly onError: (error: Error) => void;
}

/** Lines kept to say why a child ended. */
const KEPT_LINES = 30;

/** One child process, from its start to its end. */
export class RunningChild {
  readonly process: ChildProcess;
  /** Resolves when it has ended and its output was read, or when it could not be run. */
  readonly exited: Promise<void>;
  readonly #over = new AbortController();
  readonly #lines: string[] = [];
  #spawnError: Error | undefined;

  constructor(command: ChildCommand, options: RunningChildOptions) {
    const child = spawn(command.file, command.args, {
      env: command.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe', ...(command.ipc ? (['ipc'] as const) : [])],
      // A process group of its own: Ctrl-C in the terminal reaches `up` alone, which ends the children in order.
      detached: true,
    });
    this.process = child;
    this.exited = new Promise(resolve => {
      // 'exit' is followed by 'close' when the output has been read; a program that is not there has neither.
      child.on('error', error => {
        if (child.pid === undefined) {
          this.#spawnError = error;
          this.#over.abort(error);
          resolve();
        } else {
          options.onError(error);
        }
      });
      child.once('close', () => {
        this.#over.abort(new Error('it ended'));
        resolve();
      });
    });
    for (const stream of [child.stdout!, child.stderr!]) {
      const splitter = createLineSplitter(line => {
        this.#lines.push(line);
        if (this.#lines.length > KEPT_LINES) this.#lines.shift();
        options.onLine(line);
      });
      stream.setEncoding('utf8').on('data', splitter.push).on('end', splitter.end);
    }
  }

  /** Why it could not be run. */
  get spawnError(): Error | undefined {
    return this.#spawnError;
  }

  /** The last lines that it printed. */
  get recentLines(): readonly string[] {
    return this.#lines;
  }

  get hasEnded(): boolean {
    return this.#over.signal.aborted;
  }

  /** How it ended, in words. */
  get ending(): string {
    const { signalCode, exitCode } = this.process;
    return signalCode === null ? `exit code ${exitCode}` : `signal ${signalCode}`;
  }

  /**
   * Waits for a step of its start. `step` gets a signal that aborts when the child ends, or after `timeoutMs`, when it is killed.
   * @throws Error that says what went wrong
   */
  async until<Result>(step: (signal: AbortSignal) => Promise<Result>, timeoutMs: number): Promise<Result> {
    const late = new AbortController();
    const timer = setTimeout(() => {
      late.abort(new Error(`not ready after ${timeoutMs} ms`));
      this.process.kill('SIGKILL');
    }, timeoutMs);
    const signal = AbortSignal.any([this.#over.signal, late.signal]);
    try {
      const result = await step(signal);
      signal.throwIfAborted();
      return result;
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  }
}
