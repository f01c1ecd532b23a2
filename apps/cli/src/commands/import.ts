import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import {
  assertTenantId,
  ERROR_CODES,
  type ErrorCode,
  isErrorCode,
  LIMITS,
  OnewriterError,
  type WireError,
} from '@onewriter/protocol';
import { EXIT } from '../exit-codes.ts';
import { chooseSource, type ImportSource, sizeOf } from '../import/choose-source.ts';
import { keyOfFile } from '../import/key-of-file.ts';
import { readEvents } from '../import/read-events.ts';
import { openGateway } from '../open-gateway.ts';
import { printError } from '../print-error.ts';
import { createProgress, describeRate } from '../progress.ts';
import { count } from '../table.ts';
import { findTarget } from '../target.ts';
import { UsageError } from '../usage-error.ts';
import { loadFile } from './load.ts';
import { flagOf, SPLIT_ONLY, type SplitCommandOptions, splitFile } from './split.ts';

/** Options of `onewriter import`, as the command line gives them. */
export interface ImportOptions extends SplitCommandOptions {
  /** Without it each line of NDJSON names its own. */
  readonly table?: string | undefined;
  readonly format?: string | undefined;
  readonly separator?: string | undefined;
  /** All rows in one transaction, or none. */
  readonly deferred?: boolean | undefined;
  readonly onConflict?: string | undefined;
  readonly maxRejected?: string | undefined;
  /** A dump or a database takes the place of what the tenant has. */
  readonly replace?: boolean | undefined;
  /** A dump is loaded in steps that the same command continues. */
  readonly resume?: boolean | undefined;
  /** Under one key the same import can be sent again: no row is applied twice. */
  readonly idempotencyKey?: string | undefined;
}

/** What `onewriter import --json` prints. */
export interface ImportSummary {
  readonly tenant: string;
  /** null: each line named its own. */
  readonly table: string | null;
  readonly outcome: 'done' | 'failed' | 'interrupted';
  readonly rows: number;
  readonly accepted: number;
  /** Accepted rows that changed nothing: they conflict with a row that is there. */
  readonly ignored: number;
  /** Committed before, under the same key. */
  readonly skipped: number;
  readonly rejected: number;
  readonly unknown: number;
  readonly commitSeq: number;
  readonly idempotencyKey: string;
  /** The first rejected rows: their number from 0, and where they begin in the file, from 1. */
  readonly rejections: readonly Rejection[];
  readonly error: WireError | null;
}

interface Rejection {
  readonly row: number;
  readonly line: number;
  readonly error: WireError;
}

/** The gateway's events. */
interface ImportEvent extends Partial<Omit<ImportSummary, 'error'>> {
  readonly event: 'progress' | 'rejected' | 'done' | 'failed' | 'interrupted';
  readonly row?: number | undefined;
  readonly line?: number | undefined;
  readonly error?: WireError | undefined;
}

const MAX_REJECTIONS_TOLD = 20;
/** An answer begins when the gateway has looked at the table. */
const BEGIN_TIMEOUT_MS = 60_000;

/**
 * Writes the rows of a CSV or NDJSON file into tables, or loads a dump or a database, through the gateway; with `splitBy` it makes many
 * tenants out of one database.
 * @param path `-` is standard input; with `splitBy` undefined: the file is the first argument
 */
export async function importFile(
  tenant: string,
  path: string | undefined,
  options: ImportOptions,
): Promise<number> {
  if (options.splitBy !== undefined) {
    if (path !== undefined) throw new UsageError('--split-by takes a file and no tenant: it makes them all.');
    return splitFile(tenant, options);
  }
  if (path === undefined) throw new UsageError('Name a tenant and a file.');
  assertTenantId(tenant);
  const source = chooseSource(path, options.format);
  assertOptions(source, options);
  if (source.format === 'sqlite' || (source.format === 'sql' && !options.resume)) {
    return loadFile(tenant, source, options);
  }
  return importRows(tenant, source, options);
}

/** @throws UsageError for options that would have no effect */
function assertOptions({ path, format }: ImportSource, options: ImportOptions): void {
  const ofSplit = SPLIT_ONLY.find(name => options[name] !== undefined);
  if (ofSplit !== undefined) throw new UsageError(`--${flagOf(ofSplit)} goes with --split-by.`);
  const isRows = format === 'csv' || format === 'ndjson';
  const wrong = isRows
    ? (['replace', 'resume'] as const)
    : ([
        ...(['table', 'separator', 'deferred', 'onConflict', 'maxRejected'] as const),
        ...(options.resume ? (['replace'] as const) : []),
      ] as const);
  const given = wrong.find(name => options[name] !== undefined);
  if (given !== undefined) {
    throw new UsageError(
      `--${flagOf(given)} is not for ${format}${isRows ? '' : options.resume ? ' with --resume' : ''}.`,
    );
  }
  if (options.resume && (format !== 'sql' || path === '-')) {
    throw new UsageError('--resume is for a file of SQL: it is read again.');
  }
}

async function importRows(
  tenant: string,
  { path, format, type, isPacked }: ImportSource,
  options: ImportOptions,
): Promise<number> {
  if (format === 'csv' && options.table === undefined) {
    throw new UsageError('CSV goes into one table: name it with --table.');
  }
  const { maxRejected } = options;
  if (
    maxRejected !== undefined &&
    !(/^\d{1,9}$/.test(maxRejected) && Number(maxRejected) <= LIMITS.maxImportRefused)
  ) {
    throw new UsageError(`--max-rejected is a number from 0 to ${LIMITS.maxImportRefused}.`);
  }
  const totalBytes = sizeOf(path);
  const gateway = await openGateway(findTarget(options.dataDir));
  const separator = options.separator ?? (/\.tsv(\.gz)?$/i.test(path) ? 'tab' : undefined);
  const query = new URLSearchParams();
  if (options.table !== undefined) query.set('table', options.table);
  if (separator !== undefined) query.set('separator', separator);
  if (options.deferred) query.set('deferred', 'true');
  if (options.onConflict !== undefined) query.set('onConflict', options.onConflict);
  if (options.maxRejected !== undefined) query.set('maxRejected', options.maxRejected);
  const idempotencyKey =
    options.idempotencyKey ?? (options.resume ? await keyOfFile(path) : `import-${randomUUID()}`);
  const progress = createProgress(options.json);
  const started = performance.now();
  let sentBytes = 0;
  let accepted = 0;
  const unit = format === 'sql' ? 'statement' : 'row';
  const source = path === '-' ? process.stdin : createReadStream(path);
  const draw = () => {
    const rate = describeRate(sentBytes, performance.now() - started);
    progress.update(
      `${count(accepted, unit)} committed, ${rate}`,
      totalBytes === undefined ? undefined : sentBytes / Math.max(1, totalBytes),
    );
  };
  const counted = async function* () {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      sentBytes += chunk.length;
      draw();
      yield chunk;
    }
  };
  const summary: { -readonly [Key in keyof ImportSummary]: ImportSummary[Key] } = {
    tenant,
    table: options.table ?? null,
    outcome: 'interrupted',
    rows: 0,
    accepted: 0,
    ignored: 0,
    skipped: 0,
    rejected: 0,
    unknown: 0,
    commitSeq: 0,
    idempotencyKey,
    rejections: [],
    error: null,
  };
  const rejections: Rejection[] = [];
  try {
    const response = await gateway.request(`/v1/tenants/${tenant}/import?${query}`, {
      method: 'POST',
      headers: {
        'content-type': type,
        'idempotency-key': idempotencyKey,
        ...(isPacked ? { 'content-encoding': 'gzip' } : {}),
      },
      body: Readable.toWeb(Readable.from(counted())) as ReadableStream<Uint8Array>,
      timeoutMs: BEGIN_TIMEOUT_MS,
      streams: true,
    });
    for await (const { event, row, line, error, ...figures } of readEvents<ImportEvent>(response)) {
      if (event === 'rejected') {
        if (rejections.push({ row: row!, line: line!, error: error! }) > MAX_REJECTIONS_TOLD)
          rejections.pop();
        continue;
      }
      Object.assign(summary, figures);
      accepted = summary.accepted - summary.ignored;
      draw();
      if (event !== 'progress') summary.outcome = event;
      if (error !== undefined) summary.error = error;
    }
  } catch (error) {
    // The connection broke while rows were on their way; before that, and where the gateway refused, the error is the answer.
    const refused = error instanceof OnewriterError && error.code !== 'MISCONFIGURED';
    if (refused || sentBytes === 0) throw error;
    summary.error = { code: 'INTERNAL', message: `The connection broke: ${(error as Error).message}` };
  } finally {
    progress.end();
    source.destroy();
  }
  summary.rejections = rejections;
  process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : asText(summary, unit));
  if (!options.json && summary.error !== null) printError(summary.error);
  return summary.outcome === 'done' && summary.rejected === 0 ? EXIT.ok : EXIT.failed;
}

function asText(summary: ImportSummary, unit: string): string {
  const { tenant, table, outcome, rows, accepted, ignored, rejected, unknown, rejections } = summary;
  const parts = [
    `${count(accepted - ignored, unit)} of ${rows} committed into ${table === null ? tenant : `${tenant}.${table}`}`,
    ...(ignored > 0 ? [`${ignored} ignored`] : []),
    ...(summary.skipped > 0 ? [`${summary.skipped} were there before`] : []),
    ...(rejected > 0 ? [`${rejected} rejected`] : []),
    ...(unknown > 0 ? [`${unknown} unknown`] : []),
  ];
  const lines = [parts.join(', ')];
  for (const { line, error } of rejections) lines.push(`  line ${line}: ${error.code} ${error.message}`);
  if (rejected > rejections.length) lines.push(`  and ${rejected - rejections.length} more`);
  if (outcome !== 'done') lines.push(`It did not end (${outcome}). ${adviseOn(summary, unit)}`);
  return `${lines.join('\n')}\n`;
}

/** What to do about an import that did not end. */
export function adviseOn(
  summary: Pick<ImportSummary, 'outcome' | 'accepted' | 'skipped' | 'unknown' | 'error' | 'idempotencyKey'>,
  unit = 'row',
): string {
  const { outcome, accepted, skipped, unknown, error, idempotencyKey } = summary;
  const key = `--idempotency-key ${idempotencyKey}`;
  const sameFile = `Send it again with the same file: no ${unit} is applied twice under ${key}`;
  if (outcome === 'interrupted' || unknown > 0 || error === null || mayPass(error.code)) return sameFile;
  if (error.code === 'IDEMPOTENCY_KEY_REUSED') return 'Nothing more was committed.';
  const committed = accepted + skipped;
  if (committed === 0) return 'Nothing was committed.';
  return (
    `${count(committed, unit)} stay committed. Send the mended file under ${key}: ${unit}s that were committed must be in it as ` +
    'they were, and are not applied twice'
  );
}

/** Whether the same file may go through another time. */
function mayPass(code: string): boolean {
  if (code === 'OUTCOME_UNKNOWN' || code === 'ABORTED' || !isErrorCode(code)) return true;
  const { retryable, status } = ERROR_CODES[code as ErrorCode];
  return retryable || status >= 500;
}
