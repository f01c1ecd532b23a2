import { LIMITS, OnewriterError, type SqlValue, type WireParameters } from '@onewriter/protocol';
import type { CompiledStatement } from '../batch/statement-cache.ts';
import { decodeBindings, encodeRow } from '../batch/statement-runner.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import type { ReadJudge } from './read-judge.ts';

/** What of the rows is wanted. */
export interface Wanted {
  readonly firstOnly?: boolean | undefined;
  /** false: the statement runs, and its rows are left out. */
  readonly rows?: boolean | undefined;
  /** Default: `LIMITS.maxOwnerReadBytes`. */
  readonly maxBytes?: number | undefined;
}

/**
 * Runs a read that its judge allows.
 * @returns JSON of a WireRows
 * @throws OnewriterError STATEMENT_NOT_ALLOWED, READ_TOO_COSTLY, RESULT_TOO_LARGE, INVALID_VALUE; SQLite's
 */
export function collectRows(
  database: TenantDatabase,
  judge: ReadJudge,
  compiled: CompiledStatement,
  params: WireParameters | undefined,
  { firstOnly = false, rows: wantsRows = true, maxBytes = LIMITS.maxOwnerReadBytes }: Wanted = {},
): string {
  const bound = compiled.parameters.toArguments(decodeBindings(params));
  judge.assertMayRun(compiled, bound);
  // As on a connection that only reads.
  const statement = database.runner.prepareAnew(compiled);
  const begunAt = performance.now();
  if (wantsRows) assertFits(judge, compiled, bound, firstOnly, maxBytes, begunAt);
  const rows: string[] = [];
  let bytes = 0;
  for (const row of statement.iterate(...bound)) {
    if (wantsRows) {
      if (rows.length === LIMITS.maxOwnerReadRows) throw tooLarge(`${LIMITS.maxOwnerReadRows} rows`);
      const json = encodeRow(row as SqlValue[]);
      bytes += Buffer.byteLength(json) + 1;
      if (bytes > maxBytes) throw tooLarge(`${maxBytes} bytes`);
      rows.push(json);
      if (firstOnly) break;
    }
    judge.assertShort(compiled, performance.now() - begunAt);
  }
  judge.assertShort(compiled, performance.now() - begunAt);
  judge.noteShort(compiled);
  const columns = JSON.stringify(statement.columns().map(column => column.name));
  return `{"c":${columns},"r":[${rows.join()}],"n":0,"i":0}`;
}

/** @throws OnewriterError RESULT_TOO_LARGE, READ_TOO_COSTLY before any row is loaded */
function assertFits(
  judge: ReadJudge,
  compiled: CompiledStatement,
  bound: readonly unknown[],
  firstOnly: boolean,
  maxBytes: number,
  begunAt: number,
): void {
  const measure = judge.measureOf(compiled);
  if (measure === undefined) return;
  let bytes = 0;
  for (const sizes of measure.iterate(...bound)) {
    for (const size of sizes) bytes += size ?? 0;
    if (bytes > maxBytes) throw tooLarge(`${maxBytes} bytes`);
    if (firstOnly) return;
    judge.assertShort(compiled, performance.now() - begunAt);
  }
}

function tooLarge(limit: string): OnewriterError {
  return new OnewriterError(
    'RESULT_TOO_LARGE',
    `The result has over ${limit}, the most that the owner of the file returns; read in pieces (WHERE id > ? ORDER BY id LIMIT 1000), through a gateway or from the file.`,
  );
}
