import { type ErrorCode, isErrorCode, OnewriterError, type SqlValue } from '@onewriter/protocol';
import { judgeProbes, type ProbedTable, probesOf, type TableErrors } from '@onewriter/runtime/inspect';
import type { ReadSteps } from '../../reads/read-steps.ts';
import type { Step, StepResult } from '../hrana/steps.ts';

/** What is found out about one table, beyond what the schema itself says. */
export interface ProbedColumns extends TableErrors {
  /** name, type, notnull, dflt_value, pk, hidden; undefined where they were not asked for, or SQLite does not know them. */
  readonly columns: readonly SqlValue[][] | undefined;
}

/** Tenant, tables and deadline. */
export interface ProbeOptions {
  readonly tenant: string;
  /** Tables whose columns are not known: views and virtual tables, which SQLite may not be able to use. */
  readonly withoutColumns: ReadonlySet<string>;
  /** Version of the schema that the tables were read from. */
  readonly schemaVersion: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Steps of one request, about: an answer has all their results. */
const MAX_STEPS = 500;
/** What says that SQLite cannot use an object, and not that the file cannot be read. */
const REFUSALS = new Set<string | undefined>(['SQLITE_ERROR', 'SQLITE_ERROR_MISSING_COLLSEQ']);

/**
 * Asks SQLite of each table whether it can be used, with its indexes and triggers: one that cannot takes nothing else with it.
 * @returns one per table, same order; undefined where the schema has changed meanwhile
 * @throws OnewriterError as a read
 */
export async function probeTables(
  reads: ReadSteps,
  tables: readonly ProbedTable[],
  options: ProbeOptions,
): Promise<readonly ProbedColumns[] | undefined> {
  const found: ProbedColumns[] = [];
  for (let next = 0; next < tables.length; ) {
    const steps: Step[] = [{ sql: 'BEGIN' }, { sql: 'SELECT schema_version FROM pragma_schema_version' }];
    const first = next;
    const from: number[] = [];
    for (; next < tables.length && steps.length < MAX_STEPS; next++) {
      const table = tables[next]!;
      from.push(steps.length);
      if (options.withoutColumns.has(table.name)) steps.push({ sql: columnsSql(table.name) });
      steps.push(...probesOf(table).map(({ sql }) => ({ sql, describe: true })));
    }
    const { tenant, timeoutMs, signal } = options;
    const { results } = await reads.run({ tenant, steps, emptyIfMissing: false, timeoutMs, signal });
    for (const result of results) assertRan(result, tenant);
    const version = results[1]!.type === 'ok' ? results[1]!.rows[0]?.[0] : undefined;
    if (Number(version) !== options.schemaVersion) return undefined;
    for (const [offset, table] of tables.slice(first, next).entries()) {
      found.push(judge(table, results.slice(from[offset], from[offset + 1]), options));
    }
  }
  return found;
}

function judge(table: ProbedTable, results: readonly StepResult[], options: ProbeOptions): ProbedColumns {
  const probes = probesOf(table);
  const asked = options.withoutColumns.has(table.name) ? results[0] : undefined;
  const errors = results.slice(results.length - probes.length).map(refusalOf);
  const columns = asked?.type === 'ok' ? asked.rows.map(row => [...row]) : undefined;
  return { ...judgeProbes(table, probes, errors), columns };
}

function refusalOf(result: StepResult): string | undefined {
  return result.type === 'error' ? result.error.message : undefined;
}

/** @throws OnewriterError where a step was stopped, or the file cannot be read */
function assertRan(result: StepResult, tenant: string): void {
  if (result.type === 'ok') return;
  if (result.type === 'error' && REFUSALS.has(result.error.sqliteCode)) return;
  const { code, message, sqliteCode } =
    result.type === 'error'
      ? { sqliteCode: undefined, ...result.error }
      : { code: 'READ_TIMEOUT', message: 'The look at the schema was stopped.', sqliteCode: undefined };
  const known: ErrorCode = isErrorCode(code) ? code : 'INTERNAL';
  throw new OnewriterError(known, message, { tenant, sqliteCode });
}

function columnsSql(table: string): string {
  return `SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(${text(table)}) ORDER BY cid`;
}

function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
