import { fromWireError, OnewriterError, type WireError } from '@onewriter/protocol';
import { startBoundedProcess } from './bounded-process.ts';
import { endedOutOfMemory } from './memory-limit.ts';

/** What a one-shot process answers, once, over IPC. */
export type OneShotAnswer<T> = T | { readonly error: WireError };

/** How {@link runOneShot} runs its process. */
export interface OneShotOptions {
  /** Limit of the process; the kernel enforces it on Linux. */
  readonly memoryBytes: number;
  /** It is killed then. */
  readonly timeoutMs: number;
  /** It is killed when this fires. */
  readonly signal?: AbortSignal | undefined;
  /** Its arguments. */
  readonly args?: readonly string[] | undefined;
  /** Sent to it at once: a task that may be too large for an argument. */
  readonly task?: object | undefined;
  /** Named in errors. */
  readonly tenant: string;
  /** What it does, in errors: 'The full check'. */
  readonly what: string;
  /** The error of one that took too much memory. */
  readonly tooLarge: () => OnewriterError;
}

/**
 * Runs a caller's work in a process of its own that answers once and ends: unlike a thread inside SQLite it can be stopped at
 * any moment, and what it takes is bounded. Resolves when the process has ended.
 *
 * @throws OnewriterError what it answered; STATEMENT_TIMEOUT, ABORTED (it was killed); that of `tooLarge`; INTERNAL where it ends
 * without an answer
 */
export function runOneShot<T extends object>(entry: URL, options: OneShotOptions): Promise<T> {
  const { memoryBytes, timeoutMs, signal, args = [], task, tenant, what, tooLarge } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(new OnewriterError('ABORTED', 'The caller went away.', { tenant }));
      return;
    }
    const running = startBoundedProcess(entry, { memoryBytes, stdout: 'ignore', args });
    const { child } = running;
    let outcome: OneShotAnswer<T> | OnewriterError | undefined;
    const stop = (code: 'STATEMENT_TIMEOUT' | 'ABORTED', message: string) => {
      outcome ??= new OnewriterError(code, message, { tenant });
      child.kill('SIGKILL');
    };
    const onAbort = () => stop('ABORTED', `The caller went away. ${what} was stopped.`);
    const timer = setTimeout(
      () => stop('STATEMENT_TIMEOUT', `${what} took longer than ${timeoutMs} ms and was stopped.`),
      timeoutMs,
    );
    signal?.addEventListener('abort', onAbort);
    child.once('message', answer => {
      outcome ??= answer as OneShotAnswer<T>;
    });
    const onEnd = (cause?: Error) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (outcome instanceof OnewriterError) reject(outcome);
      else if (outcome === undefined) {
        const message = `The process ended without an answer. ${what} is not done.`;
        reject(
          endedOutOfMemory(running.stderr())
            ? tooLarge()
            : new OnewriterError('INTERNAL', message, { tenant }, cause),
        );
      } else if ('error' in outcome) reject(fromWireError(outcome.error));
      else resolve(outcome);
    };
    child.once('error', onEnd); // it did not start
    child.once('close', () => onEnd());
    // Without a free descriptor there is no channel; 'error' says so.
    if (task !== undefined && child.connected) child.send(task, error => error && child.kill('SIGKILL'));
  });
}
