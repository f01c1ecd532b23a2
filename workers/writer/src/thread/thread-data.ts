import assert from 'node:assert/strict';
import type { WriterOptions } from './lane-task.ts';
import { PROGRESS_BYTES } from './progress.ts';

/** The workerData of a writer thread. Its options follow before its first task: it may start long before that. */
export interface WriterThreadData {
  readonly progress: WriterOptions['progress'];
  /** The length of the options in the first four bytes, and the options as JSON. A replacement of this thread reads them, too. */
  readonly options: SharedArrayBuffer;
}

/** More than two paths of the greatest length. */
const OPTIONS_BYTES = 16 * 1024;

export function createThreadData(): WriterThreadData {
  return {
    progress: new SharedArrayBuffer(PROGRESS_BYTES),
    options: new SharedArrayBuffer(OPTIONS_BYTES),
  };
}

/** Sets a thread's options, before its first task. */
export function giveOptions(data: WriterThreadData, options: Omit<WriterOptions, 'progress'>): void {
  const json = Buffer.from(JSON.stringify(options));
  assert(json.length <= OPTIONS_BYTES - 4, 'the options of a writer thread are too long');
  Buffer.from(data.options).set(json, 4);
  Atomics.store(new Int32Array(data.options), 0, json.length);
}

/** The options of this thread. */
export function takeOptions({ progress, options }: WriterThreadData): WriterOptions {
  const length = Atomics.load(new Int32Array(options), 0);
  assert(length > 0, 'a writer thread has a task and no options');
  // A copy: JSON is not read from shared memory.
  const json = Buffer.from(Buffer.from(options, 4, length)).toString();
  return { ...(JSON.parse(json) as Omit<WriterOptions, 'progress'>), progress };
}
