/*
 * Handles that tests have started and not yet ended. `test/leak-check.ts` looks here when a test file is done. What is
 * left when the test process exits is ended here, so that a broken test leaves no processes behind.
 */

const live = new Map<object, LiveHandle>();

/** Something that a test must end. */
export interface LiveHandle {
  /** For messages: 'redis-server 1234'. */
  readonly what: string;
  /** Ends it at once and synchronously; for the exit of the test process. */
  readonly endNow: () => void;
}

/** Notes a thing that must be ended; returns the function that notes its end. */
export function trackHandle(handle: LiveHandle): () => void {
  const key = {};
  if (live.size === 0) process.on('exit', endAll);
  live.set(key, handle);
  return () => {
    live.delete(key);
    if (live.size === 0) process.off('exit', endAll);
  };
}

/** Names of everything that was started and not ended. */
export function liveHandles(): readonly string[] {
  return Array.from(live.values(), handle => handle.what);
}

/** Ends whatever is left, at once. */
export function endAll(): void {
  for (const handle of live.values()) handle.endNow();
  live.clear();
}
