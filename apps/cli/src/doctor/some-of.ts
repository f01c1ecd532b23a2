/** Tenants that are named one by one. */
export const MAX_NAMES = 10;

/** Names in a sentence: the first of them. */
export function someOf(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).join(', ');
  return names.length > MAX_NAMES ? `${shown} and ${names.length - MAX_NAMES} more` : shown;
}
