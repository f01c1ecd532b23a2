/** Characters of a message that are kept: its beginning, and its end, where SQLite says what is wrong. */
const MAX_LENGTH = 1_000;
const MAX_END_LENGTH = 200;

/**
 * What SQLite or its driver says is wrong, with a bound: it quotes tokens, names and texts of the statement whole, which may be
 * megabytes. Every place that makes an OnewriterError of such a message calls this.
 */
export function sqliteMessage(error: unknown): string {
  return boundMessage(error instanceof Error ? error.message : String(error));
}

/** A message that quotes a caller's text, with a bound. */
export function boundMessage(message: string): string {
  if (message.length <= MAX_LENGTH) return message;
  const begin = message.slice(0, MAX_LENGTH - MAX_END_LENGTH - 1);
  // A cut must not leave half of a surrogate pair.
  return `${begin}…${message.slice(-MAX_END_LENGTH)}`.toWellFormed();
}
