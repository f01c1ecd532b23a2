import {
  type BringBack,
  bringBack,
  type DatabaseDifference,
  type JobKind,
  type RowDifference,
  runOneJob,
  type TableDifference,
} from '@onewriter/files';
import { decodeValue, OnewriterError } from '@onewriter/protocol';
import { connect, type Tenant } from '@onewriter/sdk';
import { EXIT } from '../exit-codes.ts';
import { limitsOf } from '../jobs/job-options.ts';
import { openRedisToKnow } from '../open-redis.ts';
import { audited, operatorName } from '../operator.ts';
import { createProgress } from '../progress.ts';
import { count } from '../table.ts';
import { connectOptions, placeOf, type Target } from '../target.ts';
import { UsageError } from '../usage-error.ts';
import { type DiffSummary, diffAsText } from './diff-as-text.ts';

/** Options of a comparison, as the command line gives them. */
export interface CompareOptions {
  /** Names with commas between them. */
  readonly tables?: string | undefined;
  /** Rows of each table that are shown. */
  readonly rows?: string | undefined;
  /** `removed`, `changed`, or both with a comma. */
  readonly bringBack?: string | undefined;
  readonly timeout?: string | undefined;
  readonly json?: boolean | undefined;
}

/** A file that the tenant had. */
export interface FormerFile {
  readonly path: string;
  /** For people: the path of a backup, or the point of the replica. */
  readonly name: string;
}

const SHOWN_ROWS = 5;
const MAX_SHOWN_ROWS = 1_000;
/** Rows of each table that come back at a time: in one transaction, which is atomic. */
const ROWS_AT_A_TIME = 1_000;

/** Compares a tenant's file with one that it had, row by row; brings rows back, if asked. @param signal ends it, between two transactions */
export async function diffWith(
  target: Target,
  tenant: string,
  former: FormerFile,
  options: CompareOptions,
  signal?: AbortSignal | undefined,
): Promise<number> {
  const tables = options.tables?.split(',').map(table => table.trim());
  const shown = parseRows(options.rows);
  const which = parseBringBack(options.bringBack);
  const compare: Compare = (maxRows, kinds, stop = signal) =>
    compareInProcess(target, tenant, { former: former.path, tables, maxRows, kinds }, options, stop);
  const found = await compare(shown);
  const missing = tables?.filter(table => !isThere(found, table)) ?? [];
  const broughtBack =
    which === undefined ? null : await bringAllBack(target, tenant, former, which, compare, options);
  const summary: DiffSummary = { tenant, former: former.name, ...found, broughtBack };
  if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else process.stdout.write(diffAsText(summary, missing));
  return EXIT.ok;
}

/** Without differences a table is not listed: it may be there. */
function isThere(
  { tables, tablesFormer, tablesPresent, skipped }: DatabaseDifference,
  name: string,
): boolean {
  return (
    tables.some(({ table }) => table === name) ||
    [...tablesFormer, ...tablesPresent].includes(name) ||
    skipped.some(({ table }) => table === name)
  );
}

/** @throws UsageError */
function parseRows(text: string | undefined): number {
  if (text === undefined) return SHOWN_ROWS;
  const rows = Number(text);
  if (Number.isInteger(rows) && rows >= 0 && rows <= MAX_SHOWN_ROWS) return rows;
  throw new UsageError(`--rows takes a number from 0 to ${MAX_SHOWN_ROWS}.`);
}

/** @throws UsageError */
function parseBringBack(text: string | undefined): BringBack | undefined {
  if (text === undefined) return undefined;
  const kinds = text.split(',').map(kind => kind.trim());
  if (kinds.some(kind => kind !== 'removed' && kind !== 'changed'))
    throw new UsageError('--bring-back takes removed, changed, or removed,changed.');
  return { removed: kinds.includes('removed'), changed: kinds.includes('changed') };
}

type Kinds = readonly RowDifference['kind'][];
type Compare = (maxRows: number, kinds?: Kinds, signal?: AbortSignal) => Promise<DatabaseDifference>;

function compareInProcess(
  target: Target,
  tenant: string,
  job: Omit<Extract<JobKind, { readonly kind: 'diff' }>, 'kind'>,
  { timeout }: CompareOptions,
  signal: AbortSignal | undefined,
): Promise<DatabaseDifference> {
  return runOneJob({ place: placeOf(target), job: { kind: 'diff', ...job } }, tenant, {
    limits: limitsOf(target, timeout),
    priority: 'usual',
    signal,
  });
}

/**
 * Some rows of each table at a time, each time in one transaction, and compared again before the next: so it can be interrupted and
 * repeated, and a row that was written meanwhile is left as it is. A signal ends it between two transactions, so that it is noted.
 * @throws OnewriterError of a transaction that was refused: all before it are committed
 */
async function bringAllBack(
  target: Target,
  tenant: string,
  former: FormerFile,
  which: BringBack,
  compare: Compare,
  options: CompareOptions,
): Promise<number> {
  const redis = await openRedisToKnow(target, 'a broker writes');
  const progress = createProgress(options.json);
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stopping.abort());
  // Rows that were added stay, and are no part of the limit.
  const kinds = (['removed', 'changed'] as const).filter(kind => which[kind]);
  let done = 0;
  try {
    await using onewriter = await connect(await connectOptions(target));
    const open = onewriter.tenant(tenant);
    const work = async () => {
      let left = Number.POSITIVE_INFINITY;
      for (;;) {
        const { tables } = await compare(ROWS_AT_A_TIME, kinds, stopping.signal);
        const now = tables.reduce((sum, table) => sum + countOf(table, which), 0);
        if (now === 0) return;
        // A trigger takes away what comes back.
        if (now >= left) throw noProgress(tenant, now);
        left = now;
        for (const table of tables) {
          const back = await bringTableBack(open, table, which);
          done += back;
          // Rows of the next tables may refer to the rest.
          if (back < countOf(table, which)) break;
        }
        progress.update(`${count(done, 'row')} brought back, ${left} to do`, done / (done + left));
      }
    };
    await audited(redis, target.group, 'tenant.rows', tenant, work, `${operatorName()}: from ${former.name}`);
    return done;
  } finally {
    progress.end();
    redis.disconnect();
  }
}

function countOf({ removed, changed }: TableDifference, which: BringBack): number {
  return (which.removed ? removed : 0) + (which.changed ? changed : 0);
}

async function bringTableBack(open: Tenant, table: TableDifference, which: BringBack): Promise<number> {
  const statements = bringBack(table, which);
  if (statements.length === 0) return 0;
  await open.transaction([
    // A row may refer to a later one.
    { sql: 'PRAGMA defer_foreign_keys = ON' },
    ...statements.map(({ sql, params, expect }) => ({ sql, params: params.map(decodeValue), expect })),
  ]);
  return statements.length;
}

function noProgress(tenant: string, left: number): OnewriterError {
  return new OnewriterError(
    'CONSTRAINT_VIOLATION',
    `${left} rows of ${tenant} differ again after they were brought back: a trigger or a later write changes them.`,
    { tenant },
  );
}
