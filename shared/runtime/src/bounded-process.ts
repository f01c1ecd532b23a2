import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type CpuPriority, setCpuPriority } from './cpu-priority.ts';
import { heapOption, withMemoryLimit } from './memory-limit.ts';

/** How a process is started. */
export interface BoundedProcessOptions {
  /** Memory it may take; an allocation beyond fails inside it. */
  readonly memoryBytes: number;
  /** Where its standard output goes: nowhere, or to its parent. */
  readonly stdout: 'ignore' | 'pipe';
  /** Its arguments, besides Node's own. */
  readonly args: readonly string[];
  /** What its environment holds besides the path and the time zone. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Default: `low`. */
  readonly priority?: CpuPriority | undefined;
}

/** Kept of what it prints on standard error. */
const MAX_STDERR_CHARACTERS = 4_000;

/** A process with a channel to this one, and the end of what it printed on standard error. */
export interface BoundedProcess {
  readonly child: ChildProcess;
  stderr(): string;
}

/**
 * Starts a JavaScript file as a process whose memory the kernel limits, so that a statement cannot use up the machine's memory:
 * SQLite and Node then report that an allocation failed. Its environment holds nothing that is not given. It has a lower priority
 * than the processes that serve all tenants, because one tenant may keep a few of these busy for as long as it likes. It ends
 * with the thread that starts it, also in the middle of a statement that has no end.
 */
export function startBoundedProcess(entry: URL, options: BoundedProcessOptions): BoundedProcess {
  const { memoryBytes, env, priority = 'low' } = options;
  const { file, args } = withMemoryLimit(
    [process.execPath, heapOption(memoryBytes), fileURLToPath(entry), ...options.args],
    memoryBytes,
  );
  const child = spawn(file, args, {
    stdio: ['ignore', options.stdout, 'pipe', 'ipc'],
    serialization: 'advanced',
    // A session of its own.
    detached: priority !== 'usual',
    env: { PATH: process.env['PATH'], TZ: process.env['TZ'], ...env },
  });
  // Where it did not start, 'error' says why.
  if (child.pid !== undefined && priority !== 'usual') setCpuPriority(child.pid, priority);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-MAX_STDERR_CHARACTERS);
  });
  return { child, stderr: () => stderr };
}
