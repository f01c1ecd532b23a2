import { open } from 'node:fs/promises';
import { assertRoom, SPARE_BYTES, toFileError } from '@onewriter/files';
import { LIMITS, OnewriterError } from '@onewriter/protocol';
import { type LineBounds, readChunks } from '../streams/read-lines.ts';

const LOOK_EVERY_BYTES = 64 * 1024 * 1024;

/**
 * Writes a body into a new file as it arrives, a chunk at a time.
 * @returns bytes so far, after each chunk
 * @throws OnewriterError DATABASE_FULL, PAYLOAD_TOO_LARGE, TIMEOUT, ABORTED
 */
export async function* receiveFile(
  body: ReadableStream<Uint8Array> | null,
  folder: string,
  path: string,
  bounds: Omit<LineBounds, 'maxLineBytes'>,
): AsyncGenerator<number, void, undefined> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      let bytes = 0;
      let lookAt = 0;
      for await (const chunk of readChunks(body, bounds)) {
        bytes += chunk.length;
        if (bytes > LIMITS.maxUnpackedBytes) {
          const message = `The file has over ${LIMITS.maxUnpackedBytes} bytes.`;
          throw new OnewriterError('PAYLOAD_TOO_LARGE', message, { maxBytes: LIMITS.maxUnpackedBytes });
        }
        if (bytes > lookAt) {
          lookAt = bytes + LOOK_EVERY_BYTES;
          assertRoom(folder, SPARE_BYTES + LOOK_EVERY_BYTES);
        }
        await file.writeFile(chunk); // behind what is there
        yield bytes;
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw toFileError(error, 'Cannot receive the file');
  }
}
