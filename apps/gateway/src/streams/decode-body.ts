import { LIMITS, OnewriterError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/**
 * The body of a request, unpacked where it says `Content-Encoding: gzip`. It is unpacked as it is read, so what waits is bounded
 * by what its reader takes.
 * @param maxBytes of the unpacked body
 * @throws OnewriterError UNSUPPORTED_MEDIA_TYPE for another encoding; while it is read INVALID_ARGUMENT, PAYLOAD_TOO_LARGE
 */
export function decodeBody(
  c: Context<GatewayEnv>,
  maxBytes: number = LIMITS.maxUnpackedBytes,
): ReadableStream<Uint8Array> | null {
  const { body } = c.req.raw;
  if (!isEncoded(c)) return body;
  if (c.req.header('content-encoding')!.trim().toLowerCase() !== 'gzip') throw unknownEncoding();
  return body === null ? null : ReadableStream.from(unpack(body, maxBytes));
}

/** For bodies that are read at once. @throws OnewriterError UNSUPPORTED_MEDIA_TYPE */
export function assertNotEncoded(c: Context<GatewayEnv>): void {
  if (isEncoded(c)) throw unknownEncoding();
}

function isEncoded(c: Context<GatewayEnv>): boolean {
  const encoding = c.req.header('content-encoding');
  return encoding !== undefined && encoding.trim().toLowerCase() !== 'identity';
}

async function* unpack(
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let broke: unknown;
  const source = ReadableStream.from(
    (async function* read() {
      try {
        for await (const chunk of body) yield chunk;
      } catch (error) {
        broke = error;
        throw error;
      }
    })(),
  );
  let bytes = 0;
  try {
    for await (const chunk of source.pipeThrough(new DecompressionStream('gzip'))) {
      bytes += (chunk as Uint8Array).byteLength;
      if (bytes > maxBytes) {
        const message = `The body has over ${maxBytes} bytes when it is unpacked.`;
        throw new OnewriterError('PAYLOAD_TOO_LARGE', message, { maxBytes });
      }
      yield chunk as Uint8Array;
    }
  } catch (error) {
    // The sender went away, or the reader said why.
    if (broke !== undefined) throw broke;
    if (error instanceof OnewriterError) throw error;
    throw new OnewriterError('INVALID_ARGUMENT', 'The body is not gzip, or not whole.', {}, error);
  }
}

function unknownEncoding(): OnewriterError {
  return new OnewriterError(
    'UNSUPPORTED_MEDIA_TYPE',
    'Content-Encoding is gzip for imports and streams of enqueue; other bodies and encodings are not unpacked.',
  );
}
