import { DATABASE_COMPANIONS, OnewriterError } from '@onewriter/protocol';

/** Deepest folder that a pattern may name. */
export const MAX_DEPTH = 4;
const PLACE = '{tenant}';

/**
 * Where tenants' files lie below a folder: `tenants/{tenant}/kanban.db`. `*` stands for any text in one name, `{tenant}` for the
 * tenant's name.
 */
export interface TreePattern {
  readonly text: string;
  /** An expression for each name of the path. */
  readonly segments: readonly RegExp[];
  /** Which of them has the tenant's name in it. */
  readonly place: number;
}

/** @throws OnewriterError INVALID_ARGUMENT */
export function parsePattern(text: string): TreePattern {
  const names = text.split('/');
  const places = names.flatMap((name, index) => (name.includes(PLACE) ? [index] : []));
  const isBad =
    places.length !== 1 ||
    names.length > MAX_DEPTH ||
    names.some(name => name === '' || name === '.' || name === '..' || name.split(PLACE).length > 2);
  if (isBad) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `A pattern is a path below the folder, of ${MAX_DEPTH} names at most, with {tenant} once: tenants/{tenant}/kanban.db. Not: ${text}`,
    );
  }
  return { text, segments: names.map(toExpression), place: places[0]! };
}

function toExpression(name: string): RegExp {
  const source = name
    .split(/(\{tenant\}|\*)/)
    .map(part =>
      part === PLACE ? '(.+)' : part === '*' ? '.*' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
    )
    .join('');
  return new RegExp(`^${source}$`, 'su');
}

/**
 * Whether a path below the folder, or the beginning of one, is as the pattern says.
 * @param names of the path
 */
export function matchesSoFar({ segments }: TreePattern, names: readonly string[]): boolean {
  return names.length <= segments.length && names.every((name, index) => segments[index]!.test(name));
}

/** The tenant's name in a whole path; undefined where it is not as the pattern says, or of a log of SQLite's. */
export function tenantNameIn(pattern: TreePattern, names: readonly string[]): string | undefined {
  if (names.length !== pattern.segments.length || !matchesSoFar(pattern, names)) return undefined;
  if (DATABASE_COMPANIONS.some(suffix => names.at(-1)!.endsWith(suffix))) return undefined;
  return pattern.segments[pattern.place]!.exec(names[pattern.place]!)![1];
}

/** The path of a tenant's file. @throws OnewriterError INVALID_ARGUMENT for a pattern with `*` */
export function fillPattern({ text }: TreePattern, tenant: string): string {
  if (!text.includes('*')) return text.replace(PLACE, tenant);
  throw new OnewriterError('INVALID_ARGUMENT', `A pattern of files to make has no *: ${text}`);
}
