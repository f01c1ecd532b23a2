/** The event loop reads smaller bodies. */
const LONG_BYTES = 64 * 1024;
/** Measured: 1,000 names, each another, take up to 4 ms to parse and encode; 64 KiB of them take 28 ms. */
const MAX_NAMES = 1_000;
const COLON = 58;

/** Whether a body of JSON takes so long to read that another thread has to do it: it is long, or has many names (as its colons say). */
export function takesLong(body: Uint8Array | string): boolean {
  if (isLong(body)) return true;
  let names = 0;
  const find = (from: number) =>
    typeof body === 'string' ? body.indexOf(':', from) : body.indexOf(COLON, from);
  for (let at = find(0); at >= 0; at = find(at + 1)) if (++names > MAX_NAMES) return true;
  return false;
}

/** Whether a body takes long to read whatever is in it. */
export function isLong(body: Uint8Array | string): boolean {
  return body.length >= LONG_BYTES;
}
