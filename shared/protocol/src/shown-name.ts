/** Characters of a name that are shown. */
const MAX_LENGTH = 100;
/** Of these, those of its end. */
const MAX_END_LENGTH = 20;

/**
 * A name from a tenant's schema (of a table, column, index, trigger) as people are shown it, on terminals, pages, in messages and
 * logs: SQLite takes names of a megabyte with any characters. A long one is cut in its middle and has its length; control
 * characters are escapes.
 */
export function shownName(name: string): string {
  const shown =
    name.length <= MAX_LENGTH
      ? name
      : `${name.slice(0, MAX_LENGTH - MAX_END_LENGTH - 1)}…${name.slice(-MAX_END_LENGTH)} (${name.length} characters)`;
  // A cut must not leave half of a surrogate pair.
  return shownText(shown);
}

/** A text with foreign names in it, such as paths, for one line of a terminal: control characters are escapes. */
export function shownText(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, toEscape);
}

/** Names in a row, with a bound for all of them. @param max names that are shown */
export function shownNames(names: readonly string[], max = 50): string {
  const shown = names.slice(0, max).map(shownName).join(', ');
  return names.length <= max ? shown : `${shown} and ${names.length - max} more`;
}

function toEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
