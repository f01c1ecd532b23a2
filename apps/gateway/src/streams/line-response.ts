import { toWireError } from '@onewriter/protocol';
import { asOnewriterError } from '../http/error-response.ts';

/** One JSON text per line. Source: github.com/ndjson/ndjson-spec */
export const NDJSON = 'application/x-ndjson';

/**
 * Headers of an answer to a body that streams. The connection ends with the answer: where that comes early, the rest of
 * the body is never read.
 */
export const UPLOAD_ANSWER = Object.freeze({ 'content-type': NDJSON, connection: 'close' });

/** Bytes that are made ahead of a slow reader. */
const HIGH_WATER_BYTES = 256 * 1024;
const encoder = new TextEncoder();

/**
 * A body of lines that are made as they are read. An error in the middle becomes the last line,
 * `{"error":{code, message, details}}`: the status is long sent.
 * @param lines each ends with a newline; several may come in one piece
 */
export function toLineStream(lines: AsyncIterable<string>): ReadableStream<Uint8Array> {
  const iterator = lines[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await iterator.next();
          if (done) controller.close();
          else controller.enqueue(encoder.encode(value));
        } catch (error) {
          const line = `${JSON.stringify({ error: toWireError(asOnewriterError(error)) })}\n`;
          controller.enqueue(encoder.encode(line));
          controller.close();
        }
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: HIGH_WATER_BYTES }),
  );
}

/** Calls `release` when the lines end, or their reader goes away. */
export async function* releaseAfter(
  lines: AsyncIterable<string>,
  release: () => void,
): AsyncGenerator<string, void, undefined> {
  try {
    yield* lines;
  } finally {
    release();
  }
}
