import { setTimeout as pause } from 'node:timers/promises';
import { backOffMs, OnewriterError } from '@onewriter/protocol';
import type { CallOptions } from './object-store.ts';

const DEFAULT_TIMEOUT_MS = 30_000;
const PAUSES = Object.freeze({ firstMs: 50, maxMs: 2_000 });
/** More attempts than this do not help; a store that refuses quickly must not be flooded. */
const MAX_ATTEMPTS = 12;

/** A failure that may be gone with the next attempt. */
export class PassingError extends Error {
  /** The server had closed an idle connection: the next attempt needs no pause. */
  readonly stale: boolean;

  constructor(message: string, options: { readonly cause?: unknown; readonly stale?: boolean } = {}) {
    super(message, { cause: options.cause });
    this.stale = options.stale ?? false;
  }
}

/** One attempt. It ends soon after `signal` is aborted; `idleMs` is how long it may wait for the next byte. */
export type Attempt<T> = (signal: AbortSignal, idleMs: number) => Promise<T>;

/**
 * Repeats a call that may be repeated until it is answered.
 * @param what for the message: 'PUT leader.json'
 * @throws OnewriterError REPLICA_UNAVAILABLE at the deadline or after 12 attempts; the reason of `signal`; what `attempt` throws
 * except a {@link PassingError}
 */
export async function repeatCall<T>(
  what: string,
  { signal, timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions,
  attempt: Attempt<T>,
): Promise<T> {
  signal?.throwIfAborted();
  // One connection that hangs must not use up the time of all attempts.
  const idleMs = Math.min(10_000, Math.max(500, Math.ceil(timeoutMs / 3)));
  const end = new AbortController();
  const giveUp = () => end.abort();
  signal?.addEventListener('abort', giveUp, { once: true });
  const timer = setTimeout(giveUp, timeoutMs);
  let last: PassingError | undefined;
  try {
    for (let failures = 1; ; failures++) {
      try {
        return await attempt(end.signal, idleMs);
      } catch (error) {
        signal?.throwIfAborted();
        // What an attempt says that was ended by the deadline is less than what the one before said.
        if (!end.signal.aborted) {
          if (!(error instanceof PassingError)) throw error;
          last = error;
        }
      }
      if (!end.signal.aborted && failures < MAX_ATTEMPTS && !last?.stale) {
        await pause(backOffMs(failures, PAUSES), undefined, { signal: end.signal }).catch(() => {
          // Aborted: the next lines see it.
        });
      }
      signal?.throwIfAborted();
      if (end.signal.aborted || failures >= MAX_ATTEMPTS) throw unavailable(what, timeoutMs, failures, last);
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

function unavailable(what: string, timeoutMs: number, attempts: number, last: PassingError | undefined) {
  const why = last === undefined ? `no answer within ${timeoutMs} ms` : last.message;
  return new OnewriterError(
    'REPLICA_UNAVAILABLE',
    `${what} failed after ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}: ${why}.`,
    {},
    last,
  );
}
