import { type OperationContext, type OperationStore, runOperation } from '@onewriter/operations';
import { OnewriterError, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';

/** How work ended. */
export interface StreamEnd {
  readonly result: unknown;
  readonly error?: WireError | undefined;
}

/** Work that streams through its caller's connection. */
export interface StreamWork {
  readonly kind: 'import' | 'export';
  readonly who: string;
  readonly tenant: string;
  readonly detail: string;
  /** What its progress counts. */
  readonly unit: string;
  /** Fires where its caller is gone, or the gateway stops. */
  readonly gone: AbortSignal;
}

/** The record of such work. */
export interface StreamRecord {
  /** Fires where a person cancels it. */
  readonly cancelled: AbortSignal;
  progress(done: number, total?: number | undefined): void;
  log(line: string): void;
  /** Idempotent; the first end counts. */
  end(end: StreamEnd): void;
}

/** Shorter work is not listed: a team may send thousands of small imports. */
const LIST_AFTER_MS = 2_000;

/** Makes an operation of work whose steps its caller drives, where it takes long. Its record delays nothing. */
export function recordStream(work: StreamWork, store: OperationStore, log: Logger): StreamRecord {
  const { kind, who, tenant, detail, unit, gone } = work;
  const cancelled = new AbortController();
  let context: OperationContext | undefined;
  let end: ((end: StreamEnd) => void) | undefined;
  const running = runOperation(
    { kind, who, tenants: [tenant], detail, unit },
    {
      open: async () => store,
      listAfterMs: LIST_AFTER_MS,
      signal: gone,
      summarize: (summary: StreamEnd) => summary,
      onUnlisted: error => log.debug({ tenant, kind, err: error }, 'The end of an operation is not recorded'),
    },
    async operation => {
      context = operation;
      operation.signal.addEventListener(
        'abort',
        () => !gone.aborted && cancelled.abort(operation.signal.reason),
      );
      const ended = await new Promise<StreamEnd>(resolve => {
        end = resolve;
      });
      // Half of the work is no result; what was stopped says so.
      if (ended.error?.code === 'ABORTED' && operation.signal.aborted) throw stoppedBy(operation.signal);
      return ended;
    },
  );
  running.catch((error: unknown) => {
    if (!(error instanceof OnewriterError)) log.error({ tenant, kind, err: error }, 'An operation failed');
  });
  return {
    cancelled: cancelled.signal,
    progress: (done, total) => context?.progress(done, total),
    log: line => context?.log(line),
    end: ended => end?.(ended),
  };
}

function stoppedBy({ reason }: AbortSignal): OnewriterError {
  if (reason instanceof OnewriterError) return reason;
  return new OnewriterError('ABORTED', 'Its caller went away, or the gateway was stopped.');
}
