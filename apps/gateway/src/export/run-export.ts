import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import {
  fromWireError,
  OnewriterError,
  realDatabasePath,
  SNAPSHOT_LOOK_MS,
  SnapshotBound,
  snapshotEnded,
  tenantFile,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { endedOutOfMemory, startBoundedProcess } from '@onewriter/runtime';
import type { FileSettings } from '../reads/open-tenant-file.ts';
import { tooMuchMemory } from '../reads/read-errors.ts';
import { type Owner, Shares } from '../security/shares.ts';
import type { TenantFiles } from '../tenants/tenant-files.ts';
import type { ExportFormat, ExportMessage, ExportTask } from './export-messages.ts';

/** What to export, and how long it may take. */
export interface ExportRequest {
  readonly tenant: string;
  /** Whose share it takes. */
  readonly owner: Owner;
  readonly format: ExportFormat;
  readonly table?: string | undefined;
  readonly values: 'plain' | 'tagged';
  readonly signal: AbortSignal;
  /** Called when the last byte was handed over, before the body ends. @param rows undefined for a copy of the file */
  readonly onWhole?: ((rows: number | undefined) => void) | undefined;
  /** Called with the bytes that were handed over so far, of how many where that is known. */
  readonly onBytes?: ((bytes: number, total: number | undefined) => void) | undefined;
  /** Called once, when its process has ended: with the bytes of the whole, or why it is not whole. */
  readonly onEnd?: ((outcome: { readonly bytes: number } | OnewriterError) => void) | undefined;
}

/** An export that has begun. */
export interface ExportStream {
  /** The commit it is of. */
  readonly commitSeq: number | undefined;
  /** Size of all of it; undefined where it is not known before. */
  readonly bytes: number | undefined;
  /** Ends only when the export is whole, and with an error where it broke off. */
  readonly body: ReadableStream<Uint8Array>;
}

/**
 * Begins an export in a process of its own.
 * @throws OnewriterError TENANT_NOT_FOUND, NOT_FOUND (the table), RATE_LIMITED, READ_TIMEOUT, ABORTED, DATABASE_…;
 * SQL_ERROR, INVALID_ARGUMENT, INVALID_VALUE where a table cannot be exported like this
 */
export type Exporter = (request: ExportRequest) => Promise<ExportStream>;

/** Settings of {@link createExporter}. */
export interface ExporterOptions {
  readonly settings: FileSettings;
  readonly files: TenantFiles;
  readonly memoryBytes: number;
  readonly timeoutMs: number;
  /** An export of rows ends when the write-ahead log has grown by so much behind its snapshot. */
  readonly snapshotLogBytes: number;
  readonly log: Logger;
}

/** Exports at the same time: each reads a whole file. */
const MAX_EXPORTS = 4;
const MAX_EXPORTS_OF_OWNER = 2;
const ENTRY = new URL('./export-process.js', import.meta.url);

/** An {@link Exporter} of this gateway. */
export function createExporter(options: ExporterOptions): Exporter {
  const slots = new Shares({ what: 'exports', total: MAX_EXPORTS, share: MAX_EXPORTS_OF_OWNER });
  return async request => {
    const { release } = slots.take(request.owner);
    let scratch: string;
    try {
      scratch = await options.files.makeScratch(request.tenant, options.timeoutMs);
    } catch (error) {
      release();
      throw error;
    }
    return new RunningExport(request, scratch, options, () => {
      release();
      void options.files.removeScratch(scratch);
    }).begun;
  };
}

/** How the process ended. */
type Outcome = Extract<ExportMessage, { type: 'end' }> | OnewriterError;

/**
 * A process that exports, and the body that it fills. The end of the process's output says nothing: a process that is
 * killed ends it, too. So the body ends when the process has ended as well, and has said how many bytes the whole is.
 *
 *   starting ── begin ──▶ streaming ── end of output, end of process ──▶ whole, or failed
 *       └── error, end of process ──▶ failed
 */
class RunningExport {
  readonly begun: Promise<ExportStream>;
  readonly #request: ExportRequest;
  readonly #log: Logger;
  readonly #child: ChildProcess;
  readonly #output: Readable;
  readonly #outcome: Promise<Outcome>;
  #end: Extract<ExportMessage, { type: 'end' }> | undefined;
  #failure: OnewriterError | undefined;
  /** Bytes of all; undefined where that is not known before. */
  #total: number | undefined;
  /** Ends the body at once, also where its reader is slow; undefined while there is none. */
  #breakOff: ((error: OnewriterError) => void) | undefined;

  constructor(
    request: ExportRequest,
    scratch: string,
    { settings, memoryBytes, timeoutMs, snapshotLogBytes, log }: ExporterOptions,
    onClose: () => void,
  ) {
    const { tenant, format, table, values, signal } = request;
    const task: ExportTask = { files: settings, tenant, format, table, values, scratch };
    const exporting = startBoundedProcess(ENTRY, {
      memoryBytes,
      stdout: 'pipe',
      args: [JSON.stringify(task)],
    });
    const child = exporting.child;
    this.#request = request;
    this.#log = log;
    this.#child = child;
    this.#output = child.stdout!;
    const timer = setTimeout(
      () =>
        this.#stop(
          new OnewriterError('READ_TIMEOUT', 'The export took too long and was stopped.', { tenant }),
        ),
      timeoutMs,
    );
    // Rows leave as fast as the caller takes them. A copy of the file holds its snapshot only until it is taken.
    const path = realDatabasePath(tenantFile(settings.dataDir, tenant, settings.dbFile));
    const bound = format === 'sqlite' ? undefined : new SnapshotBound(path, snapshotLogBytes);
    const look = setInterval(() => {
      if (bound?.isReached()) this.#stop(snapshotEnded(tenant, 'Export the file instead: format=sqlite.'));
    }, SNAPSHOT_LOOK_MS);
    const onAbort = () => this.#stop(new OnewriterError('ABORTED', 'The caller went away.', { tenant }));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    this.#output.on('error', () => {}); // the reader of the body gets it
    child.once('close', () => {
      clearTimeout(timer);
      clearInterval(look);
      signal.removeEventListener('abort', onAbort);
      onClose();
    });
    this.#outcome = this.#awaitEnd(() => exporting.stderr());
    this.begun = this.#awaitBegin();
  }

  /** Ends the process, and the body with it. */
  #stop(error: OnewriterError): void {
    this.#failure ??= error;
    this.#child.kill('SIGKILL');
    // Its reader may have stopped; what is left in the pipe would keep the process from being closed.
    this.#output.destroy();
    this.#breakOff?.(this.#failure);
  }

  #awaitBegin(): Promise<ExportStream> {
    return new Promise((resolve, reject) => {
      this.#child.on('message', message => {
        const event = message as ExportMessage;
        if (event.type === 'begin') {
          this.#total = event.bytes;
          resolve({ commitSeq: event.commitSeq, bytes: event.bytes, body: this.#createBody() });
        } else if (event.type === 'end') this.#end = event;
        else this.#failure ??= fromWireError(event.error);
      });
      void this.#outcome.then(outcome => {
        this.#request.onEnd?.(outcome);
        if (!(outcome instanceof OnewriterError)) return;
        if (this.#breakOff !== undefined) this.#logFailure(outcome);
        reject(outcome); // does nothing after the beginning
      });
    });
  }

  /** Resolves when the process has ended and all that it said has been heard. */
  async #awaitEnd(stderr: () => string): Promise<Outcome> {
    const child = this.#child;
    const code = await new Promise<number | null>(resolve => {
      let exit: { readonly code: number | null } | undefined;
      const check = () => exit !== undefined && !child.connected && resolve(exit.code);
      child.once('exit', exitCode => {
        exit = { code: exitCode };
        check();
      });
      child.once('disconnect', check);
      child.once('error', () => resolve(null)); // it did not start
    });
    const { tenant } = this.#request;
    if (this.#failure !== undefined) return this.#failure;
    if (code === 0 && this.#end !== undefined) return this.#end;
    return endedOutOfMemory(stderr())
      ? tooMuchMemory(tenant)
      : new OnewriterError('INTERNAL', 'The exporting process ended before the export was whole.', {
          tenant,
        });
  }

  #createBody(): ReadableStream<Uint8Array> {
    const pieces = this.#readPieces();
    return new ReadableStream<Uint8Array>(
      {
        start: controller => {
          this.#breakOff = error => controller.error(error);
        },
        pull: async controller => {
          try {
            const { done, value } = await pieces.next();
            if (done) controller.close();
            else controller.enqueue(value);
          } catch (error) {
            controller.error(error);
          }
        },
        cancel: async () => {
          this.#breakOff = undefined;
          const { tenant } = this.#request;
          this.#stop(new OnewriterError('ABORTED', 'The caller went away.', { tenant }));
          await pieces.return();
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** @throws OnewriterError where they are not all */
  async *#readPieces(): AsyncGenerator<Uint8Array, void, undefined> {
    let bytes = 0;
    try {
      for await (const piece of this.#output) {
        bytes += (piece as Buffer).length;
        this.#request.onBytes?.(bytes, this.#total);
        yield piece as Buffer;
      }
    } catch (error) {
      // Only a destroyed pipe gets here; the process's own end says why.
      this.#failure ??= new OnewriterError('INTERNAL', 'The output of the export broke.', {}, error);
    }
    const outcome = await this.#outcome;
    if (outcome instanceof OnewriterError) throw outcome;
    if (outcome.bytes !== bytes) {
      const failure = new OnewriterError(
        'INTERNAL',
        `Of ${outcome.bytes} bytes of the export ${bytes} came.`,
      );
      this.#logFailure(failure);
      throw failure;
    }
    this.#request.onWhole?.(outcome.rows);
  }

  /** The caller only sees that the connection breaks. */
  #logFailure(failure: OnewriterError): void {
    if (failure.code === 'ABORTED') return; // by the caller
    const { tenant, format } = this.#request;
    this.#log.warn({ tenant, format, code: failure.code, err: failure }, 'An export broke off');
  }
}
