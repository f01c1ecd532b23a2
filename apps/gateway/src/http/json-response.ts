import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/**
 * What the loop gives to a connection at a time. Of 26 MB at once a write alone takes 6 to 12 ms, and making one buffer of them 20 to 50,
 * in which no other request moves.
 */
const PIECE_BYTES = 128 * 1024;

/** An answer in JSON, of texts around the rows. A large one leaves in pieces, each in a turn of its owner. */
export function jsonResponse(
  c: Context<GatewayEnv>,
  head: string,
  rows: readonly Uint8Array[],
  tail: string,
): Response {
  const parts = [Buffer.from(head), ...rows, Buffer.from(tail)];
  const bytes = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const type = { 'content-type': 'application/json' };
  if (bytes <= PIECE_BYTES) return c.body(Buffer.concat(parts, bytes), 200, type);
  let held = bytes;
  c.set('heldBytes', () => held);
  const pieces = piecesOf(parts);
  const nextTurn = c.get('nextTurn');
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        await nextTurn();
        const { done, value } = pieces.next();
        if (done) {
          controller.close();
          return;
        }
        held -= value.byteLength;
        controller.enqueue(value);
      },
      cancel() {
        held = 0;
        pieces.return();
      },
    },
    { highWaterMark: 0 },
  );
  return c.body(stream, 200, { ...type, 'content-length': String(bytes) });
}

/** Elements of an array in JSON. About as much as fits in a piece is written in a turn: 10 MB at once take 60 ms. */
export async function jsonElements(
  elements: readonly object[],
  nextTurn: () => Promise<void>,
): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = [];
  let text = '';
  for (const [index, element] of elements.entries()) {
    text += `${index === 0 ? '' : ','}${JSON.stringify(element)}`;
    if (text.length < PIECE_BYTES) continue;
    parts.push(Buffer.from(text));
    text = '';
    await nextTurn();
  }
  parts.push(Buffer.from(text));
  return parts;
}

/** Of about {@link PIECE_BYTES}: small ones are put together. */
function* piecesOf(parts: readonly Uint8Array[]): Generator<Uint8Array, void, undefined> {
  let small: Uint8Array[] = [];
  let size = 0;
  for (const part of parts) {
    for (let at = 0; at < part.byteLength; at += PIECE_BYTES) {
      const piece = part.subarray(at, at + PIECE_BYTES);
      if (size > 0 && size + piece.byteLength > PIECE_BYTES) {
        yield Buffer.concat(small, size);
        small = [];
        size = 0;
      }
      if (piece.byteLength === PIECE_BYTES) yield piece;
      else {
        small.push(piece);
        size += piece.byteLength;
      }
    }
  }
  if (size > 0) yield Buffer.concat(small, size);
}
