import {
  describeStatement,
  parseWriteJob,
  readTraceparents,
  receiptId,
  sqlOfWrite,
  type WriteJobMessage,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { FetchedJob } from '../queue/tenant-queue.ts';
import { type BatchObserver, type FinishedBatch, stagesOf } from './finished-batch.ts';

/** Settings of a {@link JobLog}. */
export interface JobLogOptions {
  /** A job that takes longer, from its client's enqueue to its end here, is logged as slow. */
  readonly slowMs: number;
  /** Whether lines may hold SQL with its literals and parameters. */
  readonly values: boolean;
  readonly log: Logger;
}

/** Lines per second: where all jobs are slow, more lines add nothing. */
const MAX_SLOW_LINES = 10;
/** Request ids in a line, and characters of a job. */
const MAX_REQUEST_IDS = 20;
const MAX_DATA_LENGTH = 4_000;

/** Writes a line of the log per slow job, with its stages; at level debug one for each job. */
export class JobLog implements BatchObserver {
  readonly #options: JobLogOptions;
  readonly #everyJob: boolean;
  #window = { since: Number.NEGATIVE_INFINITY, lines: 0, omitted: 0 };

  constructor(options: JobLogOptions) {
    this.#options = options;
    this.#everyJob = options.log.isLevelEnabled('debug');
  }

  observe(batch: FinishedBatch): void {
    const { slowMs, log } = this.#options;
    const offset = Date.now() - performance.now();
    const end = offset + batch.finishedAt;
    for (let index = 0; index < batch.jobs.length; index++) {
      const { enqueuedAt, fetchedAt } = batch.jobs[index]!;
      const totalMs = Math.max(enqueuedAt === undefined ? 0 : end - enqueuedAt, batch.finishedAt - fetchedAt);
      if (totalMs >= slowMs) {
        const omitted = this.#mayLog(batch.finishedAt);
        if (omitted === undefined) continue;
        const before = omitted === 0 ? {} : { omittedBefore: omitted };
        const what = batch.outcomes[index]!.reads === undefined ? 'Slow write' : 'Slow read';
        log.warn({ ...this.#facts(batch, index, totalMs, offset), ...before }, what);
      } else if (this.#everyJob) log.debug(this.#facts(batch, index, totalMs, offset), 'Job done');
    }
  }

  /** @returns how many lines were left out since the last one; undefined where this one is to be left out. */
  #mayLog(now: number): number | undefined {
    if (now - this.#window.since >= 1_000)
      this.#window = { since: now, lines: 0, omitted: this.#window.omitted };
    if (this.#window.lines === MAX_SLOW_LINES) {
      this.#window.omitted++;
      return undefined;
    }
    const { omitted } = this.#window;
    this.#window.lines++;
    this.#window.omitted = 0;
    return omitted;
  }

  #facts(batch: FinishedBatch, index: number, totalMs: number, offset: number): object {
    const { data, enqueuedAt, fetchedAt } = batch.jobs[index]!;
    const outcome = batch.outcomes[index]!;
    const message = tryParse(data);
    const queueMs = enqueuedAt === undefined ? undefined : Math.max(offset + fetchedAt - enqueuedAt, 0);
    const requestIds = requestIdsOf(message);
    const traceIds = [...new Set(readTraceparents(data).map(({ traceId }) => traceId))];
    return {
      tenant: batch.tenant,
      job: outcome.id,
      ...(outcome.writes === 1 ? { receipt: receiptId(outcome.id, 0) } : {}),
      ...(requestIds.length === 0 ? {} : { requestIds }),
      ...(traceIds.length === 0 ? {} : { traceIds }),
      client: outcome.client,
      ...(outcome.reads === undefined ? { writes: outcome.writes } : { reads: outcome.reads }),
      failures: outcome.failures,
      ...(outcome.duplicate ? { duplicate: true } : {}),
      ...(outcome.error === undefined ? {} : { code: outcome.error.code }),
      statement: describeStatement(message?.sql[0] ?? ''),
      ...(this.#options.values ? { data: data.slice(0, MAX_DATA_LENGTH) } : {}),
      commitSeq: outcome.commitSeq,
      batchJobs: batch.jobs.length,
      totalMs: rounded(totalMs),
      ...roundAll({ queueMs, ...stagesOf(batch), prefetchMs: Math.max(batch.queuedAt - fetchedAt, 0) }),
    };
  }
}

/** The facts of one write for a log line: its receipt, its request, and its statement. */
export function factsOfWrite(job: FetchedJob, index: number) {
  const message = tryParse(job.data);
  const operation: unknown = message?.ops[index];
  return {
    receipt: receiptId(job.id, index),
    requestId: readRequestId(operation),
    statement: describeStatement(message === undefined ? '' : sqlOfWrite(message, index)),
  };
}

function requestIdsOf(message: WriteJobMessage | undefined): string[] {
  const ids = new Set<string>();
  for (const operation of message?.ops ?? []) {
    const id = readRequestId(operation);
    if (id !== undefined) ids.add(id);
    if (ids.size === MAX_REQUEST_IDS) break;
  }
  return [...ids];
}

/** Checked, because any producer may have written it. */
function readRequestId(operation: unknown): string | undefined {
  const id = (operation as { r?: unknown } | null | undefined)?.r;
  return typeof id === 'string' ? id.slice(0, 128) : undefined;
}

/** A job that cannot be read has no statement to show; its outcome has the error. */
function tryParse(data: string): WriteJobMessage | undefined {
  try {
    return parseWriteJob(data);
  } catch {
    return undefined;
  }
}

function roundAll(durations: Readonly<Record<string, number | undefined>>): Record<string, number> {
  const shown: Record<string, number> = {};
  for (const [name, ms] of Object.entries(durations)) if (ms !== undefined) shown[name] = rounded(ms);
  return shown;
}

/** To microseconds. */
function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}
