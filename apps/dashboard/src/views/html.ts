import { html, raw } from 'hono/html';

export { html, raw };

/** A piece of a page: text that is escaped. */
export type Html = ReturnType<typeof html>;

/** A piece as text. @throws TypeError for one that waits for something: pieces are made of what is known. */
export function toText(piece: Html): string {
  if (piece instanceof Promise) throw new TypeError('A piece of a page must not wait.');
  return piece.toString();
}

/** Nothing, where a piece may be. */
export const NOTHING: Html = html``;
