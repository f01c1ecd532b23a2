import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { trackHandle } from './live-handles.ts';
import { waitFor } from './wait-for.ts';

/** Options of {@link spawnProcess}. */
export interface SpawnProcessOptions {
  readonly cwd?: string | undefined;
  /** Added to the environment of the test process; `undefined` removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Opens an IPC channel, as `onewriter up` does for its children. */
  readonly ipc?: boolean | undefined;
}

/**
 * For `env`: removes the settings that the test process itself was started with, so that a test's processes have
 * their defaults and what the test gives them.
 */
export function withoutSettings(): Record<string, undefined> {
  const names = Object.keys(process.env).filter(name => name.startsWith('ONEWRITER_'));
  return Object.fromEntries(names.map(name => [name, undefined]));
}

/** How a process ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process under test. */
export interface SpawnedProcess extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** The last MiB that it printed. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Both streams in the order they arrived. */
  readonly logs: () => string;
  /** Resolves when the process has ended and its streams are read. */
  readonly exited: Promise<ProcessExit>;
  /** Messages of the IPC channel so far. */
  readonly messages: readonly unknown[];
  /** Sends a signal. */
  kill(signal?: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after `graceMs` (default 15,000). Idempotent. */
  stop(graceMs?: number): Promise<ProcessExit>;
}

const MAX_LOG_CHARACTERS = 1024 * 1024;

/**
 * Starts a process, collects what it prints, and ends it at the latest when the test process exits.
 * @throws Error if the program cannot be started.
 */
export async function spawnProcess(
  command: string,
  args: readonly string[],
  options: SpawnProcessOptions = {},
): Promise<SpawnedProcess> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', ...(options.ipc ? (['ipc'] as const) : [])],
  });
  const streams = { stdout: '', stderr: '', logs: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      streams[name] = (streams[name] + text).slice(-MAX_LOG_CHARACTERS);
      streams.logs = (streams.logs + text).slice(-MAX_LOG_CHARACTERS);
    });
  }
  const messages: unknown[] = [];
  child.on('message', message => messages.push(message));
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', cause => reject(new Error(`Cannot start ${command}: ${cause.message}`, { cause })));
  });
  const pid = child.pid!;
  const untrack = trackHandle({
    what: `${basename(command)} ${args[0] ?? ''} (pid ${pid})`,
    endNow: () => child.kill('SIGKILL'),
  });
  const exited = new Promise<ProcessExit>(resolve => {
    child.once('close', (code, signal) => {
      untrack();
      resolve({ code, signal });
    });
  });
  const stop = async (graceMs = 15_000) => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      // A stopped process (SIGSTOP) does not handle SIGTERM until it continues.
      child.kill('SIGCONT');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await exited;
      clearTimeout(timer);
    }
    return exited;
  };
  return {
    pid,
    child,
    stdout: () => streams.stdout,
    stderr: () => streams.stderr,
    logs: () => streams.logs,
    exited,
    messages,
    kill: (signal = 'SIGKILL') => void child.kill(signal),
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}

/**
 * Whether a process with this id runs. One that has ended counts as gone, also while its parent has not asked for its
 * exit code (a zombie): orphans may stay that way for a while.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== 'linux') return true;
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // `pid (name) state …`; the name may hold anything.
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** Waits until no process has this id. @throws Error at the deadline. */
export async function waitForExit(pid: number, timeoutMs = 10_000): Promise<void> {
  await waitFor(() => !isAlive(pid), { timeoutMs, what: `the end of process ${pid}` });
}
