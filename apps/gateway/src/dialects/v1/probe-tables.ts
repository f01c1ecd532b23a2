import {
  type ErrorCode,
  isErrorCode,
  isOnewriterError,
  OnewriterError,
  type SqlValue,
} from '@onewriter/protocol';
import { judgeProbes, type ProbedTable, probesOf, type TableErrors } from '@onewriter/runtime/inspect';
import type { ReadSteps } from '../../reads/read-steps.ts';
import type { Step, StepResult } from '../hrana/steps.ts';

/** What is found out about one table, beyond what the schema itself says. */
export interface ProbedColumns extends TableErrors {
  /** name, type, notnull, dflt_value, pk, hidden; undefined where they were not asked for, or SQLite does not know them. */
  readonly columns: readonly SqlValue[][] | undefined;
  /** Looking at it took too long; `error` says so. */
  readonly stopped: boolean;
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
/** A table takes a few ms. One that takes longer, by views of views for example, costs a process. */
const MAX_TABLE_MS = 1_000;
/** Share of the whole time after which what is left is not looked at. */
const SHARE_OF_TIME = 0.6;
/** What says that SQLite cannot use an object, and not that the file cannot be read. */
const REFUSALS = new Set<string | undefined>(['SQLITE_ERROR', 'SQLITE_ERROR_MISSING_COLLSEQ']);
/** What ends a step that takes too much time or memory. */
const STOPS = new Set<string>(['READ_TIMEOUT', 'READ_TOO_COSTLY', 'RESULT_TOO_LARGE']);
const TOOK_TOO_LONG = `Not described: SQLite took too much memory for it, or longer than ${MAX_TABLE_MS / 1_000} s.`;
const NO_TIME_LEFT = 'Not described: other objects of this schema took too long.';

/**
 * Asks SQLite of each table whether it can be used, with its indexes and triggers: one that cannot takes nothing else with
 * it, and neither does one that takes too long. Tables are asked for before views, which are what may take long.
 * @returns one per table, same order; undefined where the schema has changed meanwhile
 * @throws OnewriterError as a read
 */
export async function probeTables(
  reads: ReadSteps,
  tables: readonly ProbedTable[],
  options: ProbeOptions,
): Promise<readonly ProbedColumns[] | undefined> {
  const { withoutColumns, timeoutMs, signal } = options;
  const begunAt = performance.now();
  const order = [
    ...tables.filter(({ name }) => !withoutColumns.has(name)),
    ...tables.filter(({ name }) => withoutColumns.has(name)),
  ];
  const found = new Map<ProbedTable, ProbedColumns>();
  for (let next = 0; next < order.length; ) {
    const spentMs = performance.now() - begunAt;
    if (spentMs > timeoutMs * SHARE_OF_TIME) {
      // Where none was looked at the processes are busy: that is no fault of the schema.
      if (next === 0) throw new OnewriterError('TIMEOUT', 'No process became free for the schema in time.');
      for (const table of order.slice(next)) found.set(table, notDescribed(NO_TIME_LEFT));
      break;
    }
    const limitMs = Math.min(MAX_TABLE_MS, timeoutMs - spentMs);
    const answer = await probeSome(reads, order.slice(next), { ...options, timeoutMs: limitMs, signal });
    if (answer === 'busy') continue;
    if (answer.schemaVersion !== undefined && answer.schemaVersion !== options.schemaVersion)
      return undefined;
    for (const [offset, one] of answer.found.entries()) found.set(order[next + offset]!, one);
    next += answer.found.length;
    // The first of a request had all its time. Another one gets the same, as the first of the next request.
    if (answer.stopped && answer.found.length === 0) {
      found.set(order[next]!, notDescribed(TOOK_TOO_LONG));
      next++;
    }
  }
  return tables.map(table => found.get(table)!);
}

/** What one request found out. */
interface SomeProbed {
  /** undefined: it was stopped before that was read. */
  readonly schemaVersion: number | undefined;
  /** Of the first tables, in their order. */
  readonly found: readonly ProbedColumns[];
  /** The table after them took too long. */
  readonly stopped: boolean;
}

/** Looks at as many tables as fit into a request. @returns busy: no process was free in time */
async function probeSome(
  reads: ReadSteps,
  tables: readonly ProbedTable[],
  options: ProbeOptions,
): Promise<SomeProbed | 'busy'> {
  const steps: Step[] = [{ sql: 'BEGIN' }, { sql: 'SELECT schema_version FROM pragma_schema_version' }];
  const from: number[] = [];
  for (const table of tables) {
    if (steps.length >= MAX_STEPS) break;
    from.push(steps.length);
    if (options.withoutColumns.has(table.name)) steps.push({ sql: columnsSql(table.name) });
    steps.push(...probesOf(table).map(({ sql }) => ({ sql, describe: true })));
  }
  const { tenant, timeoutMs, signal } = options;
  let results: readonly StepResult[];
  try {
    ({ results } = await reads.run({ tenant, steps, emptyIfMissing: false, timeoutMs, signal }));
  } catch (error) {
    if (isOnewriterError(error, 'TIMEOUT')) return 'busy';
    throw error;
  }
  const stoppedAt = results.findIndex(isStopped);
  const ran = stoppedAt < 0 ? results : results.slice(0, stoppedAt);
  for (const result of ran) assertRan(result, tenant);
  const version = ran[1]?.type === 'ok' ? ran[1].rows[0]?.[0] : undefined;
  const found: ProbedColumns[] = [];
  for (const [offset, start] of from.entries()) {
    const end = from[offset + 1] ?? steps.length;
    if (end > ran.length) break;
    found.push(judge(tables[offset]!, ran.slice(start, end), options));
  }
  const schemaVersion = version === undefined ? undefined : Number(version);
  return { schemaVersion, found, stopped: stoppedAt >= 0 };
}

function isStopped(result: StepResult): boolean {
  return result.type === 'error' && STOPS.has(result.error.code);
}

function notDescribed(error: string): ProbedColumns {
  return { error, indexes: new Map(), triggers: new Map(), columns: undefined, stopped: true };
}

function judge(table: ProbedTable, results: readonly StepResult[], options: ProbeOptions): ProbedColumns {
  const probes = probesOf(table);
  const asked = options.withoutColumns.has(table.name) ? results[0] : undefined;
  const errors = results.slice(results.length - probes.length).map(refusalOf);
  const columns = asked?.type === 'ok' ? asked.rows.map(row => [...row]) : undefined;
  return { ...judgeProbes(table, probes, errors), columns, stopped: false };
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
