/** The event loop reads smaller bodies. */
const LONG_BYTES = 64 * 1024;
/** Measured: 1,000 names, each another, take up to 4 ms to parse and encode; 64 KiB of them take 28 ms. */
const MAX_NAMES = 1_000;
/** Measured: 64 KiB of statements that are refused take 40 ms. */
const MAX_STATEMENTS = 1_000;

/**
 * Whether a body of JSON takes so long to read that another thread has to do it: it is long, or has many names (as its colons say) or
 * statements (as its semicolons say).
 */
export function takesLong(body: Uint8Array | string): boolean {
  return isLong(body) || hasMore(body, ':', MAX_NAMES) || hasMore(body, ';', MAX_STATEMENTS);
}

function hasMore(body: Uint8Array | string, character: string, most: number): boolean {
  const code = character.charCodeAt(0);
  const find = (from: number) =>
    typeof body === 'string' ? body.indexOf(character, from) : body.indexOf(code, from);
  let count = 0;
  for (let at = find(0); at >= 0; at = find(at + 1)) if (++count > most) return true;
  return false;
}

/** Whether a body takes long to read whatever is in it. */
export function isLong(body: Uint8Array | string): boolean {
  return body.length >= LONG_BYTES;
}
