import { setMaxListeners } from 'node:events';

/** What may be under way at a time. */
export interface AheadBounds<T> {
  readonly calls: number;
  /** Bytes of all that is read and not used up yet; one item may exceed it. */
  readonly bytes: number;
  readonly bytesOf: (item: T) => number;
}

/**
 * Reads items at the same time, and gives them in order. Ends what is under way when the consumer ends early.
 * @param read to be given up by the signal
 */
export async function* readAhead<T, R>(
  items: Iterable<T>,
  { calls, bytes: maxBytes, bytesOf }: AheadBounds<T>,
  read: (item: T, signal: AbortSignal) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const stop = new AbortController();
  // Each call listens, and there are more than Node expects.
  setMaxListeners(0, stop.signal);
  const underWay: { readonly size: number; readonly result: Promise<R> }[] = [];
  const source = items[Symbol.iterator]();
  let next = source.next();
  let bytes = 0;
  try {
    for (;;) {
      while (next.done !== true && underWay.length < calls) {
        const size = bytesOf(next.value);
        if (underWay.length > 0 && bytes + size > maxBytes) break;
        const result = read(next.value, stop.signal);
        // Its error is thrown when it is its turn.
        result.catch(() => {});
        underWay.push({ size, result });
        bytes += size;
        next = source.next();
      }
      const [first] = underWay;
      if (first === undefined) return;
      yield await first.result;
      underWay.shift();
      bytes -= first.size;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(underWay.map(({ result }) => result));
  }
}
