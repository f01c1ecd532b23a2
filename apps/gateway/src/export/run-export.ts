import { Readable } from 'node:stream';
import { fromWireError, OnewriterError } from '@onewriter/protocol';
import { endedOutOfMemory, startBoundedProcess } from '../reads/bounded-process.ts';
import type { TenantFiles as FileSettings } from '../reads/open-tenant-file.ts';
import { tooMuchMemory } from '../reads/read-errors.ts';
import { StreamSlots } from '../streams/stream-slots.ts';
import type { TenantFiles } from '../tenants/tenant-files.ts';
import type { ExportFormat, ExportMessage, ExportTask } from './export-messages.ts';

/** What to export, and how long it may take. */
export interface ExportRequest {
  readonly tenant: string;
  readonly format: ExportFormat;
  readonly table?: string | undefined;
  readonly values: 'plain' | 'tagged';
  readonly signal: AbortSignal;
}

/** An export that has begun. */
export interface ExportStream {
  /** The commit it is of. */
  readonly commitSeq: number | undefined;
  /** Ends with an error where the export broke off. */
  readonly body: ReadableStream<Uint8Array>;
}

/**
 * Begins an export in a process of its own.
 * @throws OnewriterError TENANT_NOT_FOUND, NOT_FOUND (the table), RATE_LIMITED, READ_TIMEOUT, ABORTED, DATABASE_…
 */
export type Exporter = (request: ExportRequest) => Promise<ExportStream>;

/** Settings of {@link createExporter}. */
export interface ExporterOptions {
  readonly settings: FileSettings;
  readonly files: TenantFiles;
  readonly memoryBytes: number;
  readonly timeoutMs: number;
}

/** Exports at the same time: each reads a whole file. */
const MAX_EXPORTS = 4;
const ENTRY = new URL('./export-process.js', import.meta.url);

/** An {@link Exporter} of this gateway. */
export function createExporter(options: ExporterOptions): Exporter {
  const slots = new StreamSlots(MAX_EXPORTS, 'exports');
  return async request => {
    const release = slots.take();
    let scratch: string;
    try {
      scratch = await options.files.makeScratch(request.tenant, options.timeoutMs);
    } catch (error) {
      release();
      throw error;
    }
    const { tenant, format, table, values, signal } = request;
    const task: ExportTask = { files: options.settings, tenant, format, table, values, scratch };
    const onEnd = () => {
      release();
      void options.files.removeScratch(scratch);
    };
    return begin(task, options, signal, onEnd);
  };
}

function begin(
  task: ExportTask,
  { memoryBytes, timeoutMs }: ExporterOptions,
  signal: AbortSignal,
  onEnd: () => void,
): Promise<ExportStream> {
  const { tenant } = task;
  const exporting = startBoundedProcess(ENTRY, { memoryBytes, stdout: 'pipe', args: [JSON.stringify(task)] });
  const { child } = exporting;
  const output = child.stdout!;
  let failure: OnewriterError | undefined;
  let complete = false;

  const stop = (error: OnewriterError) => {
    failure ??= error;
    child.kill('SIGKILL');
  };
  const timer = setTimeout(
    () => stop(new OnewriterError('READ_TIMEOUT', 'The export took too long and was stopped.', { tenant })),
    timeoutMs,
  );
  const onAbort = () => stop(new OnewriterError('ABORTED', 'The caller went away.', { tenant }));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  output.on('error', () => {}); // told to whoever reads the body
  output.once('close', () => !complete && child.kill('SIGKILL')); // its reader went away

  return new Promise((resolve, reject) => {
    child.on('message', message => {
      const told = message as ExportMessage;
      if (told.type === 'begin') {
        resolve({ commitSeq: told.commitSeq, body: Readable.toWeb(output) as ReadableStream<Uint8Array> });
      } else if (told.type === 'end') complete = true;
      else failure ??= fromWireError(told.error);
    });
    child.on('error', () => {}); // 'close' follows
    child.once('exit', () => {
      if (complete) return;
      failure ??= endedOutOfMemory(exporting.stderr())
        ? tooMuchMemory(tenant)
        : new OnewriterError('INTERNAL', 'The exporting process ended without an answer.', { tenant });
      // The status is sent long ago: only a body that breaks off tells that it is not whole.
      output.destroy(failure);
      reject(failure); // does nothing after the beginning
    });
    child.once('close', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      onEnd();
    });
  });
}
