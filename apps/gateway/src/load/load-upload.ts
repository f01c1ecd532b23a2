import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { LoadEvent, LoadReport } from '@onewriter/files';
import { OnewriterError, toWireError } from '@onewriter/protocol';
import { asOnewriterError } from '../http/error-response.ts';
import type { LineBounds } from '../streams/read-lines.ts';
import type { TenantFiles } from '../tenants/tenant-files.ts';
import type { Loader, LoaderRequest } from './loader.ts';
import { receiveFile } from './receive-file.ts';

/** Settings of {@link loadUpload}. */
export interface UploadOptions {
  readonly files: TenantFiles;
  readonly load: Loader;
  readonly body: ReadableStream<Uint8Array> | null;
  readonly bounds: Omit<LineBounds, 'maxLineBytes'>;
  /** Of the body, where its head says it. */
  readonly totalBytes: number | null;
  readonly request: Omit<LoaderRequest, 'source' | 'bytes' | 'signal' | 'onProgress'>;
  /** Stops it, as long as nothing has changed. */
  readonly stop: AbortSignal;
}

/** The folder of an upload is cleared away after twice this, whatever happens. */
const SCRATCH_LIFE_MS = 6 * 60 * 60_000;
const PROGRESS_EVERY_MS = 500;

/** Receives a file beside the data, so that no sender can be slower than the work on it, and loads it then. */
export async function* loadUpload(options: UploadOptions): AsyncGenerator<LoadEvent, void, undefined> {
  const { files, load, body, bounds, totalBytes, request, stop } = options;
  const ended = new AbortController();
  let scratch: string | undefined;
  let running: Promise<LoadReport> | undefined;
  try {
    scratch = await files.makeScratch(request.tenant, SCRATCH_LIFE_MS);
    const source = join(scratch, 'upload');
    let bytes = 0;
    let reportedAt = performance.now();
    for await (const received of receiveFile(body, scratch, source, bounds)) {
      bytes = received;
      if (performance.now() - reportedAt < PROGRESS_EVERY_MS) continue;
      reportedAt = performance.now();
      yield { event: 'progress', step: 'receive', bytes, totalBytes };
    }
    // What was received until then is no file.
    stop.throwIfAborted();
    let loaded = 0;
    running = load({
      ...request,
      source,
      bytes,
      signal: AbortSignal.any([stop, ended.signal]),
      onProgress: done => {
        loaded = done;
      },
    });
    const settled = running.then(
      () => true,
      () => true,
    );
    while (!(await Promise.race([settled, pause(PROGRESS_EVERY_MS, false)]))) {
      yield { event: 'progress', step: 'load', bytes: loaded, totalBytes: bytes };
    }
    yield { event: 'done', ...(await running) };
  } catch (error) {
    yield { event: 'failed', error: toWireError(asStopped(error, stop)) };
  } finally {
    // Its caller went away: what has begun to change files is finished first.
    ended.abort(new OnewriterError('ABORTED', 'Its caller went away.'));
    await running?.catch(() => {});
    if (scratch !== undefined) await files.removeScratch(scratch);
  }
}

/** A signal's reason says who stopped it. */
function asStopped(error: unknown, stop: AbortSignal): OnewriterError {
  if (!stop.aborted || (error instanceof OnewriterError && error.code !== 'ABORTED'))
    return asOnewriterError(error);
  const { reason } = stop;
  if (reason instanceof OnewriterError) return reason;
  return new OnewriterError('ABORTED', 'The load was stopped; nothing has changed.', {}, error);
}
