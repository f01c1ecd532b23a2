import { OnewriterError } from '@onewriter/protocol';
import { brokeOff, type LineBounds, readChunks } from '../streams/read-lines.ts';
import { assertText, SNIFFED_BYTES } from './assert-text.ts';

/** Line of a body, from 1; where a piece of it is. */
export interface AtLine {
  readonly line: number;
}

/**
 * The text of a body as it arrives, without a byte-order mark, in pieces of whole characters.
 * @param place where the reader of the text is, for the error
 * @throws OnewriterError INVALID_ARGUMENT (not text, not UTF-8; all text before that was given out), TIMEOUT, ABORTED
 */
export async function* readText(
  body: ReadableStream<Uint8Array> | null,
  bounds: LineBounds,
  place: () => AtLine,
): AsyncGenerator<string, void, undefined> {
  let carry: Uint8Array = new Uint8Array();
  let begun = false;
  const decode = (bytes: Uint8Array): string => {
    if (begun) return decodeUtf8(bytes);
    begun = true;
    assertText(bytes);
    return decodeUtf8(bytes).replace(/^\uFEFF/, '');
  };
  const invalid = () => notUtf8(place().line);
  for await (const chunk of readBody(body, bounds)) {
    const bytes = carry.length === 0 ? chunk : Buffer.concat([carry, chunk]);
    const end = begun || bytes.length >= SNIFFED_BYTES ? bytes.length - incompleteTail(bytes) : 0;
    carry = Buffer.from(bytes.subarray(end));
    if (end === 0) continue;
    const whole = bytes.subarray(0, end);
    let text: string;
    try {
      text = decode(whole);
    } catch (error) {
      if (error instanceof OnewriterError) throw error;
      yield decodeUtf8(whole.subarray(0, findInvalid(whole)));
      throw invalid();
    }
    if (text !== '') yield text;
  }
  // What was cut off in the middle is no row.
  if (bounds.stop?.aborted || carry.length === 0) return;
  try {
    yield decode(carry);
  } catch (error) {
    if (error instanceof OnewriterError) throw error;
    yield decodeUtf8(carry.subarray(0, findInvalid(carry)));
    throw invalid();
  }
}

/** The chunks of a body; a sender that went away is its own error. */
async function* readBody(
  body: ReadableStream<Uint8Array> | null,
  bounds: LineBounds,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* readChunks(body, bounds);
  } catch (cause) {
    if (cause instanceof OnewriterError) throw cause;
    throw brokeOff(cause);
  }
}

function notUtf8(line: number): OnewriterError {
  return new OnewriterError(
    'INVALID_ARGUMENT',
    `Line ${line} is not UTF-8 (perhaps Latin-1 or Windows-1252). Convert the file first, for example with ` +
      'iconv -f WINDOWS-1252 -t UTF-8.',
    { line },
  );
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array): string {
  return UTF_8.decode(bytes);
}

/** Bytes at the end that begin a character and do not end it. */
function incompleteTail(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/** Where the first character begins that is not UTF-8. Line ends are single bytes, so its line can be decoded up to it. */
function findInvalid(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const part = bytes.subarray(0, middle);
    if (isUtf8(part.subarray(0, middle - incompleteTail(part)))) low = middle;
    else high = middle - 1;
  }
  return low - incompleteTail(bytes.subarray(0, low));
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    decodeUtf8(bytes);
    return true;
  } catch {
    return false;
  }
}
