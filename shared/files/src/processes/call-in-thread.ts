import { parentPort, workerData } from 'node:worker_threads';
import { toWireError } from '@onewriter/protocol';
import { toFileError } from '../open/file-error.ts';
import type { ThreadAnswer, ThreadCall } from './in-thread.ts';

/* The thread of `callInThread`: calls one function, answers and ends. */

const { module, name, args } = workerData as ThreadCall;
let answer: ThreadAnswer;
try {
  const exported = (await import(module)) as Record<string, (...args: readonly unknown[]) => unknown>;
  answer = { result: await exported[name]!(...args) };
} catch (error) {
  answer = { error: toWireError(toFileError(error, 'The work on the file failed')) };
}
parentPort!.postMessage(answer);
