import { OnewriterError, onAbort } from '@onewriter/protocol';

/** How much a stream of lines may ask of the gateway. */
export interface LineBounds {
  readonly maxLineBytes: number;
  /** Silence after which the stream is given up. */
  readonly idleTimeoutMs: number;
  /** Bytes that its sender has to send in each second that it is waited for, over as long as the silence may be. Default: any. */
  readonly leastBytesPerS?: number | undefined;
  /** Ends the reading without an error: what was read so far counts. */
  readonly stop?: AbortSignal | undefined;
  /** Fires when the sender is gone: what was read and not used yet is not used any more. */
  readonly gone?: AbortSignal | undefined;
}

/** The error of a stream whose sender is gone. */
export function brokeOff(cause?: unknown): OnewriterError {
  return new OnewriterError('ABORTED', 'The upload broke off before its end.', {}, cause);
}

/**
 * Least throughput of streamed bodies: a client that sends a byte now and then does not keep its place.
 * Source: a bad mobile connection has ten times as much.
 */
export const LEAST_BYTES_PER_S = 512;

const NEWLINE = 10;

/**
 * Splits a body into its lines as it arrives, without their ends and without empty ones. Reading pauses while the caller's
 * loop is busy, and so does the sender.
 * @throws OnewriterError PAYLOAD_TOO_LARGE (a line), INVALID_ARGUMENT (not UTF-8), TIMEOUT (silence, or too slow)
 */
export async function* readLines(
  body: ReadableStream<Uint8Array> | null,
  bounds: LineBounds,
): AsyncGenerator<string, void, undefined> {
  for await (const bytes of readByteLines(body, bounds)) {
    let line: string;
    try {
      line = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (cause) {
      throw new OnewriterError('INVALID_ARGUMENT', 'The body is not UTF-8.', {}, cause);
    }
    line = line.endsWith('\r') ? line.slice(0, -1) : line;
    if (line.trim() !== '') yield line;
  }
}

async function* readByteLines(
  body: ReadableStream<Uint8Array> | null,
  bounds: LineBounds,
): AsyncGenerator<Uint8Array, void, undefined> {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  for await (const chunk of readChunks(body, bounds)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      pending.push(chunk.subarray(start, end));
      if (pendingBytes + end - start > bounds.maxLineBytes) throw tooLong(bounds);
      yield pending.length === 1 ? pending[0]! : Buffer.concat(pending);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
    }
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > bounds.maxLineBytes) throw tooLong(bounds);
  }
  if (pendingBytes > 0 && !bounds.stop?.aborted) yield Buffer.concat(pending);
}

/** The chunks of a body until it ends, is silent or slow for too long, or is to stop. @throws OnewriterError TIMEOUT, ABORTED */
export async function* readChunks(
  body: ReadableStream<Uint8Array> | null,
  { idleTimeoutMs, leastBytesPerS = 0, stop, gone }: Omit<LineBounds, 'maxLineBytes'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  const reader = body.getReader();
  // A promise of the stop for all reads would hold every chunk until the last: Promise.race keeps its losers.
  let stopWaiting: (() => void) | undefined;
  const onStop = () => stopWaiting?.();
  const watches = [stop, gone].map(signal =>
    signal === undefined || signal.aborted ? undefined : onAbort(signal, onStop),
  );
  // Bytes that arrived, and time spent waiting for them. Time in which the reader is busy does not count against the sender.
  let bytes = 0;
  let waitedMs = 0;
  let finished = false;
  try {
    while (!stop?.aborted) {
      if (gone?.aborted) throw brokeOff(gone.reason);
      const since = performance.now();
      const next = await new Promise<Awaited<ReturnType<typeof reader.read>> | 'silence' | 'stopped'>(
        (resolve, reject) => {
          const timer = setTimeout(() => resolve('silence'), idleTimeoutMs);
          stopWaiting = () => {
            clearTimeout(timer);
            resolve('stopped');
          };
          reader
            .read()
            .finally(() => clearTimeout(timer))
            .then(resolve, reject);
        },
      );
      if (next === 'stopped') continue;
      if (next === 'silence') {
        throw new OnewriterError('TIMEOUT', `Nothing came for ${idleTimeoutMs} ms; the stream was given up.`);
      }
      if (next.done) {
        finished = true;
        return;
      }
      bytes += next.value.length;
      waitedMs += performance.now() - since;
      if (waitedMs >= idleTimeoutMs) {
        if (bytes < (leastBytesPerS * waitedMs) / 1_000) throw tooSlow(leastBytesPerS);
        bytes = 0;
        waitedMs = 0;
      }
      yield next.value;
    }
  } finally {
    for (const endWatch of watches) endWatch?.();
    if (!finished) await reader.cancel().catch(() => {}); // the sender is gone, or the answer says why
  }
}

function tooLong({ maxLineBytes }: LineBounds): OnewriterError {
  return new OnewriterError('PAYLOAD_TOO_LARGE', `A line is over ${maxLineBytes} bytes.`, { maxLineBytes });
}

function tooSlow(leastBytesPerS: number): OnewriterError {
  return new OnewriterError(
    'TIMEOUT',
    `Less than ${leastBytesPerS} bytes came in a second; the stream was given up.`,
  );
}
