import { randomUUID } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
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
import { openGateway } from '../open-gateway.ts';
import { printError } from '../print-error.ts';
import { createProgress, describeRate } from '../progress.ts';
import { count } from '../table.ts';
import { findTarget } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter import`, as the command line gives them. */
export interface ImportOptions {
  readonly dataDir?: string | undefined;
  /** Without it each line of NDJSON names its own. */
  readonly table?: string | undefined;
  readonly format?: string | undefined;
  readonly separator?: string | undefined;
  /** All rows in one transaction, or none. */
  readonly deferred?: boolean | undefined;
  readonly onConflict?: string | undefined;
  readonly maxRejected?: string | undefined;
  /** Under one key the same import can be sent again: no row is applied twice. */
  readonly idempotencyKey?: string | undefined;
  readonly json?: boolean | undefined;
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

const TYPES: Readonly<Record<string, string>> = { csv: 'text/csv', ndjson: 'application/x-ndjson' };
const MAX_REJECTIONS_TOLD = 20;
/** An answer begins when the gateway has looked at the table. */
const BEGIN_TIMEOUT_MS = 60_000;

/** Writes the rows of a CSV or NDJSON file into tables, through the gateway. @param path `-` is standard input */
export async function importFile(tenant: string, path: string, options: ImportOptions): Promise<number> {
  assertTenantId(tenant);
  const format = chooseFormat(path, options.format);
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
  const totalBytes = path === '-' ? undefined : sizeOf(path);
  const gateway = await openGateway(findTarget(options.dataDir));
  const separator = options.separator ?? (/\.tsv$/i.test(path) ? 'tab' : undefined);
  const query = new URLSearchParams();
  if (options.table !== undefined) query.set('table', options.table);
  if (separator !== undefined) query.set('separator', separator);
  if (options.deferred) query.set('deferred', 'true');
  if (options.onConflict !== undefined) query.set('onConflict', options.onConflict);
  if (options.maxRejected !== undefined) query.set('maxRejected', options.maxRejected);
  const idempotencyKey = options.idempotencyKey ?? `import-${randomUUID()}`;
  const progress = createProgress(options.json);
  const started = performance.now();
  let sentBytes = 0;
  let accepted = 0;
  const source = path === '-' ? process.stdin : createReadStream(path);
  const draw = () => {
    const rate = describeRate(sentBytes, performance.now() - started);
    progress.update(
      `${count(accepted, 'row')} committed, ${rate}`,
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
      headers: { 'content-type': TYPES[format]!, 'idempotency-key': idempotencyKey },
      body: Readable.toWeb(Readable.from(counted())) as ReadableStream<Uint8Array>,
      timeoutMs: BEGIN_TIMEOUT_MS,
      streams: true,
    });
    for await (const text of readLines(response.body as ReadableStream<Uint8Array>)) {
      const { event, row, line, error, ...figures } = JSON.parse(text) as ImportEvent;
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
    if (path !== '-') source.destroy();
  }
  summary.rejections = rejections;
  process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : asText(summary));
  if (!options.json && summary.error !== null) printError(summary.error);
  return summary.outcome === 'done' && summary.rejected === 0 ? EXIT.ok : EXIT.failed;
}

/** Lines that end with LF, and with nothing else: a message may have any other character. */
async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  let pending = '';
  for await (const text of body.pipeThrough(new TextDecoderStream() as never) as AsyncIterable<string>) {
    const lines = (pending + text).split('\n');
    pending = lines.pop()!;
    yield* lines;
  }
  if (pending !== '') yield pending;
}

function asText(summary: ImportSummary): string {
  const { tenant, table, outcome, rows, accepted, ignored, rejected, unknown, rejections } = summary;
  const parts = [
    `${count(accepted - ignored, 'row')} of ${rows} committed into ${table === null ? tenant : `${tenant}.${table}`}`,
    ...(ignored > 0 ? [`${ignored} ignored`] : []),
    ...(summary.skipped > 0 ? [`${summary.skipped} were there before`] : []),
    ...(rejected > 0 ? [`${rejected} rejected`] : []),
    ...(unknown > 0 ? [`${unknown} unknown`] : []),
  ];
  const lines = [parts.join(', ')];
  for (const { line, error } of rejections) lines.push(`  line ${line}: ${error.code} ${error.message}`);
  if (rejected > rejections.length) lines.push(`  and ${rejected - rejections.length} more`);
  if (outcome !== 'done') lines.push(`It did not end (${outcome}). ${adviseOn(summary)}`);
  return `${lines.join('\n')}\n`;
}

/** What to do about an import that did not end. */
export function adviseOn(
  summary: Pick<ImportSummary, 'outcome' | 'accepted' | 'skipped' | 'unknown' | 'error' | 'idempotencyKey'>,
): string {
  const { outcome, accepted, skipped, unknown, error, idempotencyKey } = summary;
  const key = `--idempotency-key ${idempotencyKey}`;
  const sameFile = `Send it again with the same file: no row is applied twice under ${key}`;
  if (outcome === 'interrupted' || unknown > 0 || error === null || mayPass(error.code)) return sameFile;
  if (error.code === 'IDEMPOTENCY_KEY_REUSED') return 'Nothing more was committed.';
  const committed = accepted + skipped;
  if (committed === 0) return 'Nothing was committed.';
  return (
    `${count(committed, 'row')} stay committed. Send the mended file under ${key}: rows that were committed must be in it as ` +
    'they were, and are not applied twice'
  );
}

/** Whether the same file may go through another time. */
function mayPass(code: string): boolean {
  if (code === 'OUTCOME_UNKNOWN' || code === 'ABORTED' || !isErrorCode(code)) return true;
  const { retryable, status } = ERROR_CODES[code as ErrorCode];
  return retryable || status >= 500;
}

/** @throws OnewriterError INVALID_ARGUMENT */
function chooseFormat(path: string, given: string | undefined): string {
  const format =
    given ?? (/\.[ct]sv$/i.test(path) ? 'csv' : /\.(ndjson|jsonl)$/i.test(path) ? 'ndjson' : undefined);
  if (format !== undefined && format in TYPES) return format;
  throw new UsageError('--format is csv or ndjson; without it the name of the file decides.');
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (cause) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `Cannot read ${path}: ${(cause as Error).message}`,
      {},
      cause,
    );
  }
}
