/** Those who wait for a signal; one listener of the signal itself serves them all. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `listener` once, when the signal fires. A caller may give one signal to thousands of writes and reads: with a listener each,
 * Node warns of a leak from the eleventh on (MaxListenersExceededWarning), and removing them takes time that grows with their square.
 * @param signal one that has not fired
 * @returns ends it; idempotent
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const listeners = waiting.get(signal) ?? listen(signal);
  // Two calls with one function are two waits.
  const own = () => listener();
  listeners.add(own);
  return () => {
    listeners.delete(own);
  };
}

function listen(signal: AbortSignal): Set<() => void> {
  const listeners = new Set<() => void>();
  waiting.set(signal, listeners);
  signal.addEventListener(
    'abort',
    () => {
      for (const listener of listeners) listener();
    },
    { once: true },
  );
  return listeners;
}
