import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import type { LoadEvent, LoadReport } from '@onewriter/files';
import { OnewriterError, type WireError } from '@onewriter/protocol';
import { EXIT } from '../exit-codes.ts';
import { assertWithoutLog, type ImportSource, sizeOf } from '../import/choose-source.ts';
import { keyOfFile } from '../import/key-of-file.ts';
import { readEvents } from '../import/read-events.ts';
import { openGateway } from '../open-gateway.ts';
import { printError } from '../print-error.ts';
import { createProgress, describeRate } from '../progress.ts';
import { count } from '../table.ts';
import { findTarget, withDataDir } from '../target.ts';

/** Options of a load, as the command line gives them. */
export interface LoadOptions {
  readonly dataDir?: string | undefined;
  readonly replace?: boolean | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter import --json` prints of a dump or a database. */
export type LoadSummary =
  | ({ readonly outcome: 'done'; readonly error: null } & LoadReport)
  | { readonly tenant: string; readonly outcome: 'failed'; readonly error: WireError };

const BEGIN_TIMEOUT_MS = 60_000;
/** Codes of this side, where no answer came. */
const NO_ANSWER: ReadonlySet<string> = new Set(['MISCONFIGURED', 'TIMEOUT']);

/** Loads a dump or a database through the gateway, all of it or nothing. */
export async function loadFile(tenant: string, source: ImportSource, options: LoadOptions): Promise<number> {
  const { path, type, isPacked } = source;
  const totalBytes = sizeOf(path);
  assertWithoutLog(source);
  const gateway = await openGateway(findTarget(options.dataDir));
  const idempotencyKey = options.idempotencyKey ?? (await keyOf(path, options));
  const query = new URLSearchParams({ name: basename(path) });
  if (options.replace) query.set('replace', 'true');
  const progress = createProgress(options.json);
  const input = path === '-' ? process.stdin : createReadStream(path);
  const started = performance.now();
  let sentBytes = 0;
  const counted = async function* () {
    for await (const chunk of input as AsyncIterable<Buffer>) {
      sentBytes += chunk.length;
      const rate = describeRate(sentBytes, performance.now() - started);
      progress.update(
        `sent ${rate}`,
        totalBytes === undefined ? undefined : sentBytes / Math.max(1, totalBytes),
      );
      yield chunk;
    }
  };
  const unknownEnd = (what: string): LoadSummary => {
    const remedy =
      idempotencyKey === undefined
        ? 'Whether it was loaded: onewriter operations'
        : `Load it again: under --idempotency-key ${idempotencyKey} a file is loaded once`;
    return { tenant, outcome: 'failed', error: { code: 'OUTCOME_UNKNOWN', message: `${what} ${remedy}` } };
  };
  let loadingSince: number | undefined;
  let summary: LoadSummary | undefined;
  try {
    const response = await gateway.request(`/v1/tenants/${tenant}/load?${query}`, {
      method: 'POST',
      headers: {
        'content-type': type,
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
        ...(isPacked ? { 'content-encoding': 'gzip' } : {}),
      },
      body: Readable.toWeb(Readable.from(counted())) as ReadableStream<Uint8Array>,
      timeoutMs: BEGIN_TIMEOUT_MS,
      streams: true,
      tenant,
    });
    for await (const event of readEvents<LoadEvent>(response)) {
      if (event.event === 'progress') {
        if (event.step !== 'load') continue;
        loadingSince ??= performance.now();
        const rate = describeRate(event.bytes, performance.now() - loadingSince);
        const fraction = event.bytes / Math.max(1, event.totalBytes ?? 0);
        progress.update(fraction < 1 ? `loaded ${rate}` : `loaded ${rate}; checking`, fraction);
      } else if (event.event === 'done') {
        const { event: outcome, ...report } = event;
        summary = { outcome, error: null, ...report };
      } else summary = { tenant, outcome: 'failed', error: event.error };
    }
  } catch (error) {
    // Before anything was sent, and where the gateway refused, the error is the answer.
    const refused = error instanceof OnewriterError && !NO_ANSWER.has(error.code);
    if (refused || sentBytes === 0) throw error;
    summary = unknownEnd(`The connection broke: ${(error as Error).message}`);
  } finally {
    progress.end();
    input.destroy();
  }
  summary ??= unknownEnd('The answer has no end.');
  if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else if (summary.outcome === 'done') process.stdout.write(asText(summary, path, withDataDir(options)));
  else printError(summary.error);
  return summary.outcome === 'done' ? EXIT.ok : EXIT.failed;
}

/**
 * What is added to a tenant must not be added twice by a command that is run again because its answer was lost. What replaces it may be
 * wanted again.
 */
async function keyOf(path: string, { replace }: LoadOptions): Promise<string | undefined> {
  return path === '-' || replace ? undefined : keyOfFile(path);
}

/** @param place what commands that are printed need behind them */
function asText(report: LoadReport, path: string, place: string): string {
  if (report.loadedBefore) {
    return (
      `${path} was loaded into ${report.tenant} before, as commit ${report.commitSeq}: nothing has changed\n` +
      'to load it once more: --idempotency-key <another>\n'
    );
  }
  const { tenant, rows, tables, statements, commitSeq, replaced, foreignKeyViolations, warnings } = report;
  const what = statements === 0 ? '' : ` (${count(statements, 'statement')})`;
  const lines = [
    `loaded ${path} into ${tenant}${what}: ${count(rows, 'row')} in ${count(tables, 'table')} now, commit ${commitSeq}`,
  ];
  if (replaced !== null) {
    lines.push(`the file that was there is kept: ${replaced}`);
    lines.push(`undo: onewriter restore ${replaced} ${tenant} --replace${place}`);
  }
  if (foreignKeyViolations > 0) {
    lines.push(`${foreignKeyViolations} rows break foreign keys: onewriter check ${tenant}${place}`);
  }
  for (const warning of warnings) lines.push(`warning: ${warning}`);
  return `${lines.join('\n')}\n`;
}
