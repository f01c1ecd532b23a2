import { encodeParameters, LIMITS, type OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { Step, StepColumn, StepError, StepResult } from '../dialects/hrana/steps.ts';
import type { StepsTask } from './read-messages.ts';
import type { ReadProcessHandle, TaskListener } from './read-process-handle.ts';

/** Steps for a read-only connection. */
export interface ReadStepsRequest {
  readonly tenant: string;
  readonly steps: readonly Step[];
  /** Continue the transaction that was kept under this name. */
  readonly resume?: string | undefined;
  /** Keep a transaction that is open at the end under this name. */
  readonly keep?: string | undefined;
  /** A tenant without a file has an empty database. */
  readonly emptyIfMissing: boolean;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** As of a ReadRequest. */
  readonly owner?: string | undefined;
}

/** Results of the steps; integers are bigint. */
export interface ReadStepsAnswer {
  readonly results: readonly StepResult[];
  readonly autocommit: boolean;
  /** The newest commit that a kept transaction sees, once it has read anything. */
  readonly commitSeq: number | undefined;
  /** The file that a kept transaction reads; see the protocol's DatabaseFile. */
  readonly incarnation?: string | undefined;
  /** A step was stopped, and a transaction with it. */
  readonly lost: boolean;
}

/** A piece of the result of streamed steps, in order. Steps that were skipped have none. */
export type StepPiece =
  | { readonly type: 'begin'; readonly step: number; readonly columns: readonly StepColumn[] }
  | { readonly type: 'rows'; readonly rows: readonly (readonly SqlValue[])[] }
  | { readonly type: 'end' }
  | { readonly type: 'error'; readonly step: number; readonly error: StepError };

/** Runs steps that only read. */
export interface ReadSteps {
  /**
   * Runs steps and returns all their rows. A step that takes too long or returns too much fails, and ends them all.
   * Where it rejects, a transaction that was kept is lost.
   * @throws OnewriterError as `TenantReads.read`, and TRANSACTION_TIMEOUT where the kept transaction is gone
   */
  run(request: ReadStepsRequest): Promise<ReadStepsAnswer>;
  /** Runs steps without a transaction; their results may be of any length. @throws as {@link run} */
  stream(request: ReadStepsRequest): AsyncGenerator<StepPiece, void, undefined>;
  /** A transaction that was kept is over. */
  release(name: string): void;
}

/** The part of the processes that is used here. */
export interface StepProcesses {
  runSteps(
    task: StepsTask,
    options: Pick<ReadStepsRequest, 'timeoutMs' | 'signal' | 'owner'>,
    begin: (handle: Pick<ReadProcessHandle, 'more' | 'cancel'>) => TaskListener,
    refuse: (error: OnewriterError) => void,
  ): void;
  release(name: string): void;
}

/** What ends a step and the process or connection it ran on. */
const STOPPED = new Set<string>(['READ_TIMEOUT', 'SNAPSHOT_ENDED', 'RESULT_TOO_LARGE']);
const MAX_RESULT_BYTES = 32 * 1024 * 1024;

/** {@link ReadSteps} in these processes. */
export function createReadSteps(processes: StepProcesses): ReadSteps {
  return {
    run: request => runSteps(processes, request),
    stream: request => streamSteps(processes, request),
    release: name => processes.release(name),
  };
}

function toTask(request: ReadStepsRequest): StepsTask {
  return {
    type: 'steps',
    tenant: request.tenant,
    steps: request.steps.map(({ sql, params, script, describe, rows, condition, refused }) => ({
      sql,
      params: refused === undefined ? encodeParameters(params) : undefined,
      script,
      describe,
      rows,
      condition,
      refused,
    })),
    resume: request.resume,
    keep: request.keep,
    emptyIfMissing: request.emptyIfMissing,
    maxRows: LIMITS.maxResultRows,
    maxBytes: MAX_RESULT_BYTES,
  };
}

function runSteps(processes: StepProcesses, request: ReadStepsRequest): Promise<ReadStepsAnswer> {
  const results: StepResult[] = request.steps.map(() => ({ type: 'skipped' }));
  /** The one that runs, or the next one. */
  let step = 0;
  let columns: readonly StepColumn[] = [];
  let rows: SqlValue[][] = [];
  return new Promise((resolve, reject) => {
    const listener: TaskListener = {
      onColumns: () => {},
      onStep: message => {
        switch (message.type) {
          case 'step':
            ({ step, columns } = message);
            rows = [];
            break;
          case 'stepEnd': {
            const { durationMs, readonly } = message;
            results[step] = {
              type: 'ok',
              columns,
              rows,
              changes: 0,
              lastInsertRowid: null,
              durationMs,
              readonly,
            };
            step++;
            break;
          }
          case 'stepError':
            results[message.step] = { type: 'error', error: message.error };
            step = message.step + 1;
            break;
          default:
            message satisfies never;
        }
      },
      onRows: chunk => {
        if (rows.length === 0) rows = chunk;
        else for (const row of chunk) rows.push(row);
      },
      onEnd: ({ autocommit, commitSeq, incarnation }) =>
        resolve({ results, autocommit: autocommit !== false, commitSeq, incarnation, lost: false }),
      onError: error => {
        const { code, message } = error;
        if (!STOPPED.has(code) || step >= results.length) return reject(error);
        results[step] = { type: 'error', error: { code, message } };
        resolve({ results, autocommit: true, commitSeq: undefined, lost: true });
      },
    };
    processes.runSteps(toTask(request), request, () => listener, reject);
  });
}

async function* streamSteps(
  processes: StepProcesses,
  request: ReadStepsRequest,
): AsyncGenerator<StepPiece, void, undefined> {
  const pieces: StepPiece[] = [];
  let running: Pick<ReadProcessHandle, 'more' | 'cancel'> | undefined;
  let ended = false;
  let failure: OnewriterError | undefined;
  let wake = () => {};
  const push = (piece: StepPiece) => {
    pieces.push(piece);
    wake();
  };
  const end = (error?: OnewriterError) => {
    ended = true;
    failure = error;
    wake();
  };
  const listener: TaskListener = {
    onColumns: () => {},
    onStep: message => {
      if (message.type === 'step') push({ type: 'begin', step: message.step, columns: message.columns });
      else if (message.type === 'stepEnd') push({ type: 'end' });
      else push({ type: 'error', step: message.step, error: message.error });
    },
    onRows: rows => push({ type: 'rows', rows }),
    onEnd: () => end(),
    onError: end,
  };
  const task: StepsTask = {
    ...toTask(request),
    streamed: true,
    maxRows: Number.MAX_SAFE_INTEGER,
    maxBytes: Number.MAX_SAFE_INTEGER,
  };
  processes.runSteps(
    task,
    request,
    handle => {
      running = handle;
      return listener;
    },
    end,
  );
  try {
    for (;;) {
      const piece = pieces.shift();
      if (piece !== undefined) {
        if (piece.type === 'rows') running?.more();
        yield piece;
      } else if (ended) {
        if (failure !== undefined) throw failure;
        return;
      } else {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
      }
    }
  } finally {
    if (!ended) running?.cancel();
  }
}
