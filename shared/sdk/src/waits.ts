import { LIMITS, OnewriterError, onAbort } from '@onewriter/protocol';
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

/** As `work`, but no longer than until the signal fires; the work continues then. @throws OnewriterError ABORTED */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  let endWatch = () => {};
  const ended = new Promise<never>((_, reject) => {
    const end = () => reject(new OnewriterError('ABORTED', 'The caller waits no longer.', {}, signal.reason));
    if (signal.aborted) end();
    else endWatch = onAbort(signal, end);
  });
  try {
    return await Promise.race([work, ended]);
  } finally {
    endWatch();
  }
}

/** The end of a wait: at its deadline, or when its caller aborts. */
export interface WaitEnd {
  /** Fires at the end. */
  readonly signal: AbortSignal;
  /** Whether the deadline has passed. */
  readonly isLate: boolean;
  /** Call it when the wait is over, however it ended. */
  clear(): void;
}

/** AbortSignal.timeout() and AbortSignal.any() cost many times as much; a process may have thousands of waits. */
export function endOfWait(due: number, signal: AbortSignal | undefined): WaitEnd {
  const controller = new AbortController();
  let isLate = false;
  const timer = setTimeout(
    () => {
      isLate = true;
      controller.abort(LATE);
    },
    Math.max(1, Math.ceil(due - now())),
  );
  const end = () => controller.abort(signal?.reason);
  let endWatch: (() => void) | undefined;
  if (signal?.aborted) end();
  else if (signal !== undefined) endWatch = onAbort(signal, end);
  return {
    signal: controller.signal,
    get isLate() {
      return isLate;
    },
    clear() {
      clearTimeout(timer);
      endWatch?.();
    },
  };
}

const LATE = Object.freeze(new Error('The deadline has passed.'));

/** As `work`, or undefined once `due` has passed; the work continues then, and its error is ignored. */
export async function untilDue<T>(work: Promise<T>, due: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>(resolve => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, due - now()));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves after `ms`, or when the signal fires; never rejects. */
export function pause(ms: number, signal?: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      endWatch?.();
      resolve();
    };
    const timer = setTimeout(done, ms);
    const endWatch = signal && onAbort(signal, done);
  });
}
