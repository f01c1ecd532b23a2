import { Worker } from 'node:worker_threads';
import { fromWireError, OnewriterError, type WireError } from '@onewriter/protocol';
import type { HeldTenant } from '@onewriter/tenants';

const ENTRY = new URL('./call-in-thread.js', import.meta.url);

/** What the thread calls: what a module exports under a name. */
export interface ThreadCall {
  /** Its URL. */
  readonly module: string;
  readonly name: string;
  readonly args: readonly unknown[];
}

/** What the thread answers, once. */
export type ThreadAnswer = { readonly result: unknown } | { readonly error: WireError };

/** Calls a function with arguments that can be copied. @throws what it throws */
export type Caller = <A extends readonly unknown[], R>(
  work: (...args: A) => R | Promise<R>,
  ...args: A
) => Promise<R>;

/** Work on less is done before a hold has to be renewed, also by a slow disk; a thread takes 0.1 s of CPU. */
const THREAD_FROM_BYTES = 16 * 1024 * 1024;

/**
 * Calls it here where that is short, or no hold has to be renewed meanwhile.
 * @param bytes of the file
 * @param module as of {@link callInThread}
 */
export function callerFor(held: HeldTenant | undefined, bytes: number, module: URL): Caller {
  return held === undefined || bytes < THREAD_FROM_BYTES ? callHere : callInThread(module.href);
}

const callHere: Caller = async (work, ...args) => work(...args);

/**
 * Calls it in a thread of its own: SQLite's work blocks the thread that it is in, and this one has a hold to renew.
 * @param module URL of the module that exports the function under its name
 */
export function callInThread(module: string): Caller {
  return <A extends readonly unknown[], R>(work: (...args: A) => R | Promise<R>, ...args: A) =>
    new Promise<R>((resolve, reject) => {
      const call: ThreadCall = { module, name: work.name, args };
      const worker = new Worker(ENTRY, { workerData: call, stdin: false });
      worker.once('message', (answer: ThreadAnswer) => {
        if ('error' in answer) reject(fromWireError(answer.error));
        else resolve(answer.result as R);
      });
      worker.once('error', error => reject(endedEarly(error)));
      // After an answer this changes nothing.
      worker.once('exit', code => reject(endedEarly(new Error(`code ${code}`))));
    });
}

function endedEarly(error: Error & { readonly code?: string | undefined }): OnewriterError {
  const code = error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'RESULT_TOO_LARGE' : 'INTERNAL';
  return new OnewriterError(code, `The thread that worked on the file ended: ${error.message}.`, {}, error);
}
