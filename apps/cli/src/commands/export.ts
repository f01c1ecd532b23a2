import { createWriteStream, existsSync, renameSync, rmSync } from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { flush, formatBytes, toFileError } from '@onewriter/files';
import { assertTenantId, OnewriterError } from '@onewriter/protocol';
import { EXIT } from '../exit-codes.ts';
import { ExportEnd } from '../export/export-end.ts';
import { GATEWAY_TIMEOUT_MS, openGateway } from '../open-gateway.ts';
import { createProgress, describeRate } from '../progress.ts';
import { findTarget } from '../target.ts';
import { foldersOf } from '../tenants/catalogue.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter export`, as the command line gives them. */
export interface ExportOptions {
  readonly dataDir?: string | undefined;
  readonly format?: string | undefined;
  readonly table?: string | undefined;
  /** Whether a file that is there may be replaced. */
  readonly force?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter export --json` prints. */
export interface ExportSummary {
  readonly tenant: string;
  readonly format: string;
  readonly table: string | null;
  readonly path: string;
  readonly bytes: number;
  /** The newest commit that is in it. */
  readonly commitSeq: number | null;
}

const FORMATS = ['ndjson', 'csv', 'sql', 'sqlite'];
const BY_ENDING: Readonly<Record<string, string>> = {
  ndjson: 'ndjson',
  jsonl: 'ndjson',
  csv: 'csv',
  sql: 'sql',
  db: 'sqlite',
  sqlite: 'sqlite',
};

/** Writes a tenant's rows, or its whole database, into a file, through the gateway. @param path `-` is standard output */
export async function exportFile(tenant: string, path: string, options: ExportOptions): Promise<number> {
  assertTenantId(tenant);
  const format = chooseFormat(path, options.format);
  if (path !== '-' && existsSync(path) && !options.force) {
    throw new OnewriterError('INVALID_ARGUMENT', `${path} is there already; --force replaces it.`);
  }
  const target = findTarget(options.dataDir);
  const gateway = await openGateway(target);
  const query = new URLSearchParams({ format });
  if (options.table !== undefined) query.set('table', options.table);
  const response = await gateway.request(`/v1/tenants/${tenant}/export?${query}`, {
    timeoutMs: GATEWAY_TIMEOUT_MS,
    streams: true,
  });
  const commitSeq = Number(response.headers.get('commit-seq') ?? Number.NaN);
  // Only a copy of the file has a size that is known, about.
  const expected = format === 'sqlite' ? await foldersOf(target).size(tenant) : undefined;
  const progress = createProgress(options.json === true || path === '-');
  const started = performance.now();
  let bytes = 0;
  const end = new ExportEnd(format);
  const counter = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      end.add(chunk);
      const fraction = expected === undefined ? undefined : bytes / (expected.bytes + expected.walBytes);
      progress.update(describeRate(bytes, performance.now() - started), fraction);
      done(null, chunk);
    },
    flush(done) {
      done(end.problem === undefined ? null : new OnewriterError('INTERNAL', end.problem));
    },
  });
  const body = Readable.fromWeb(response.body as never);
  // What is left of it where this process is killed bears this name, never the one that was asked for.
  const draft = `${path}.partial`;
  try {
    if (path === '-') await pipeline(body, counter, process.stdout, { end: false });
    else {
      await pipeline(body, counter, createWriteStream(draft, { mode: 0o600 }));
      flush(draft);
      renameSync(draft, path);
    }
  } catch (error) {
    if (path !== '-') rmSync(draft, { force: true });
    throw toExportError(error, tenant);
  } finally {
    progress.end();
  }
  const summary: ExportSummary = {
    tenant,
    format,
    table: options.table ?? null,
    path,
    bytes,
    commitSeq: Number.isNaN(commitSeq) ? null : commitSeq,
  };
  const commit = summary.commitSeq === null ? '' : `, as of commit ${summary.commitSeq}`;
  const text = `${path}: ${formatBytes(bytes)} of ${tenant}${commit}\n`;
  // Standard output has the export itself.
  if (path === '-') process.stderr.write(options.json ? `${JSON.stringify(summary)}\n` : text);
  else process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : text);
  return EXIT.ok;
}

/** The gateway closes the connection early where an export fails: what arrived is not complete. */
function toExportError(error: unknown, tenant: string): OnewriterError {
  const { code, cause, message } = error as NodeJS.ErrnoException & { cause?: { code?: string } };
  if (typeof code === 'string' && /^E(NOSPC|DQUOT|FBIG|ACCES|PERM|ROFS|NOENT|ISDIR|IO)$/.test(code)) {
    return toFileError(error, 'Cannot write the export');
  }
  const reason = error instanceof OnewriterError ? message : (cause?.code ?? code ?? message);
  return new OnewriterError(
    'INTERNAL',
    `The export of ${tenant} broke off (${reason}); nothing was kept. The gateway's log says why; ONEWRITER_EXPORT_TIMEOUT_MS is its deadline.`,
    { tenant },
    error,
  );
}

/** @throws OnewriterError INVALID_ARGUMENT */
function chooseFormat(path: string, given: string | undefined): string {
  const format = given ?? BY_ENDING[/\.(\w+)$/.exec(path)?.[1]?.toLowerCase() ?? ''];
  if (format !== undefined && FORMATS.includes(format)) return format;
  throw new UsageError(`--format is one of ${FORMATS.join(', ')}; without it the name of the file decides.`);
}
