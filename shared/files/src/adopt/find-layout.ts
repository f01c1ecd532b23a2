import { parsePattern, type TreePattern } from './tree-pattern.ts';

/** What a name of a database ends with. */
const EXTENSION = /\.(db|db3|sqlite|sqlite3)$/i;
/** Patterns that are proposed. */
const MAX_CHOICES = 5;
/** Longest path that is looked at without a pattern, in names. */
export const FOUND_DEPTH = 3;

/** How the files of a tree lie, or what could be meant. */
export type Layout =
  | { readonly pattern: TreePattern }
  | { readonly choices: readonly { readonly pattern: string; readonly files: number }[] };

/** Whether a name looks like that of a database. */
export function looksLikeDatabase(name: string): boolean {
  return EXTENSION.test(name);
}

/**
 * Finds how tenants' files lie, where only one answer is possible: at one depth, and the tenant's name is the folder's where each
 * folder has one file, the file's where it has several.
 * @param paths of files below the folder, as names
 */
export function findLayout(paths: readonly (readonly string[])[]): Layout {
  const depths = [...new Set(paths.map(names => names.length))].sort();
  const found = depths.map(depth => layoutAt(paths.filter(names => names.length === depth)));
  const [only] = found;
  return found.length === 1 && only!.choices.length === 1
    ? { pattern: parsePattern(only!.choices[0]!.pattern) }
    : { choices: found.flatMap(({ choices }) => choices) };
}

function layoutAt(paths: readonly (readonly string[])[]) {
  const files = paths.length;
  const above = commonNames(paths);
  const extensions = new Set(paths.map(names => EXTENSION.exec(names.at(-1)!)![0]));
  const end = extensions.size === 1 ? [...extensions][0]! : '.*';
  const byFile = { pattern: [...above, `{tenant}${end}`].join('/'), files };
  if (above.length === 0) return { choices: [byFile] };
  const names = countNames(paths);
  const folders = new Set(paths.map(path => path.slice(0, -1).join('/')));
  if (folders.size === 1 && files > 1) return { choices: [byFile] };
  // The folder that differs is the tenant's.
  const varying = above.lastIndexOf('*');
  const place = varying < 0 ? above.length - 1 : varying;
  const byFolder = (file: string) => above.with(place, '{tenant}').concat(file).join('/');
  if (folders.size === files && files > 1) {
    return { choices: [{ pattern: byFolder(names.size === 1 ? [...names.keys()][0]! : `*${end}`), files }] };
  }
  // A file alone, or several in a folder: which of them is meant?
  const repeated = [...names].filter(([, count]) => count > 1 || files === 1).slice(0, MAX_CHOICES);
  return {
    choices: [...repeated.map(([name, count]) => ({ pattern: byFolder(name), files: count })), byFile],
  };
}

function countNames(paths: readonly (readonly string[])[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const path of paths) counts.set(path.at(-1)!, (counts.get(path.at(-1)!) ?? 0) + 1);
  return counts;
}

/** Names of the folders above: the one that all have, else `*`. */
function commonNames(paths: readonly (readonly string[])[]): string[] {
  return paths[0]!
    .slice(0, -1)
    .map((name, index) => (paths.every(path => path[index] === name) ? name : '*'));
}
