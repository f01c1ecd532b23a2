import { statSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { UsageError } from '../usage-error.ts';

/** What a file can be, by the name that `--format` has for it. */
const TYPES = {
  csv: 'text/csv',
  ndjson: 'application/x-ndjson',
  sql: 'application/sql',
  sqlite: 'application/vnd.sqlite3',
} as const;
const BY_NAME: readonly (readonly [RegExp, keyof typeof TYPES])[] = [
  [/\.[ct]sv$/i, 'csv'],
  [/\.(ndjson|jsonl)$/i, 'ndjson'],
  [/\.sql$/i, 'sql'],
  [/\.(db|sqlite|sqlite3)$/i, 'sqlite'],
];

/** A file that is imported. */
export interface ImportSource {
  /** `-` is standard input. */
  readonly path: string;
  readonly format: keyof typeof TYPES;
  readonly type: (typeof TYPES)[keyof typeof TYPES];
  readonly isPacked: boolean;
}

/** Finds out what a file is, by its name unless `--format` says it. @throws UsageError */
export function chooseSource(path: string, given: string | undefined): ImportSource {
  const isPacked = /\.gz$/i.test(path);
  const name = isPacked ? path.slice(0, -'.gz'.length) : path;
  const format = given ?? BY_NAME.find(([pattern]) => pattern.test(name))?.[1];
  if (format === undefined || !Object.hasOwn(TYPES, format)) {
    const names = Object.keys(TYPES).join(', ');
    throw new UsageError(`--format is one of ${names}; without it the name of the file decides.`);
  }
  const known = format as keyof typeof TYPES;
  return { path, format: known, type: TYPES[known], isPacked };
}

/**
 * Only the file itself is sent: what lies in a log beside it would be lost without a word.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function assertWithoutLog({ path, format }: ImportSource): void {
  if (format !== 'sqlite' || path === '-') return;
  for (const log of [`${path}-wal`, `${path}-journal`]) {
    if (!statSync(log, { throwIfNoEntry: false })?.size) continue;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `Commits of ${path} may lie in ${log}, which is not loaded. End the programs that have it open, or load its dump: ` +
        `sqlite3 ${path} .dump > dump.sql`,
    );
  }
}

/** Undefined for standard input. @throws OnewriterError INVALID_ARGUMENT where it cannot be read */
export function sizeOf(path: string): number | undefined {
  if (path === '-') return undefined;
  try {
    return statSync(path).size;
  } catch (cause) {
    const message = `Cannot read ${path}: ${(cause as Error).message}`;
    throw new OnewriterError('INVALID_ARGUMENT', message, {}, cause);
  }
}
