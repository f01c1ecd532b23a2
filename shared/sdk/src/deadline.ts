import { LIMITS, OnewriterError } from '@onewriter/protocol';
import type { WaitOptions } from './types.ts';

/** Now, on the clock that all deadlines use: it neither jumps nor runs backwards. Milliseconds. */
export function now(): number {
  return performance.now();
}

/**
 * When a wait ends, on the clock of {@link now}.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function dueAt(options: WaitOptions | undefined, defaultMs: number): number {
  const timeoutMs = options?.timeoutMs ?? defaultMs;
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0) || timeoutMs > LIMITS.maxTimeoutMs) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `timeoutMs must be a number over 0 and up to ${LIMITS.maxTimeoutMs}.`,
    );
  }
  return now() + timeoutMs;
}

/** @throws OnewriterError ABORTED if the signal has already fired; nothing was sent. */
export function assertNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}

/** The error of a wait that its caller ended before anything was sent. */
export function aborted(signal: AbortSignal | undefined): OnewriterError {
  return new OnewriterError('ABORTED', 'The caller aborted before the request was sent.', {}, signal?.reason);
}

/** As `work`, but no longer than until the signal fires; the work goes on then. @throws OnewriterError ABORTED */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  let end = () => {};
  const ended = new Promise<never>((_, reject) => {
    end = () => reject(new OnewriterError('ABORTED', 'The caller waits no longer.', {}, signal.reason));
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
  try {
    return await Promise.race([work, ended]);
  } finally {
    signal.removeEventListener('abort', end);
  }
}

/** Resolves after `ms`, or when the signal fires; never rejects. */
export function pause(ms: number, signal?: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}
