import { url as debuggerUrl } from 'node:inspector';
import { Worker } from 'node:worker_threads';
import type { Logger } from './logger.ts';
import type { LoopWatchTask } from './watch-loop-thread.ts';

const BEAT_MS = 250;
const THREAD = new URL('./watch-loop-thread.js', import.meta.url);

/**
 * Ends this process when its event loop does not turn for `stallMs`: a process that hangs answers no probe and no caller, and
 * whatever runs it starts it again. What the loop was at is written to standard error first. A process that was stopped
 * (SIGSTOP) or is looked at with a debugger is left alone.
 */
export function watchLoop(name: string, stallMs: number, log: Logger): void {
  if (debuggerUrl() !== undefined) return;
  const beats = new Int32Array(new SharedArrayBuffer(4));
  setInterval(() => Atomics.add(beats, 0, 1), BEAT_MS).unref();
  const workerData: LoopWatchTask = { name, beats, stallMs };
  const thread = new Worker(THREAD, {
    workerData,
    // It does next to nothing.
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2, stackSizeMb: 1 },
    execArgv: [],
    stdin: false,
  });
  thread.unref();
  thread.on('error', error => log.error({ err: error }, 'The watch over the event loop ended'));
}
