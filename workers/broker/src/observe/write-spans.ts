import { readTraceparents, type TraceParent } from '@onewriter/protocol';
import type { JobOutcome } from '@onewriter/writer';
import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api';
import type { BatchObserver, FinishedBatch, FinishedJobTimes } from './finished-batch.ts';

/*
 * The broker's part of a write's trace. All spans are children of the write's own span, whose context is in the job:
 *
 *   onewriter.queue      from the client's enqueue until the broker fetched the job
 *            .lane       until the thread began its batch
 *            .apply      the statements of the batch, and opening the file
 *            .commit     with its flush; where several tenants are flushed at once, .flush follows
 *            .complete   until the callers are answered, and Redis has finished the job
 *
 * They are made afterwards, from the times that were noted on the way, so that no write waits for them. What the write shares
 * with others (the batch, its commit) appears in the traces of all of them.
 */

interface Stage {
  readonly name: string;
  /** Ms since the epoch. */
  readonly start: number;
  readonly end: number;
}

/** Makes spans of a batch's traced jobs. */
export class WriteSpans implements BatchObserver {
  readonly #tracer: Tracer;

  constructor(tracer: Tracer = trace.getTracer('@onewriter/broker')) {
    this.#tracer = tracer;
  }

  observe(batch: FinishedBatch): void {
    const offset = Date.now() - performance.now();
    let writes = 0;
    for (const outcome of batch.outcomes) writes += outcome.writes;
    for (const [index, job] of batch.jobs.entries()) {
      const parents = readTraceparents(job.data);
      if (parents.length === 0) continue;
      const stages = toStages(batch, job, offset);
      const outcome = batch.outcomes[index]!;
      for (const parent of parents) this.#record(parent, stages, batch, outcome, writes);
    }
  }

  #record(
    parent: TraceParent,
    stages: readonly Stage[],
    batch: FinishedBatch,
    outcome: JobOutcome,
    writes: number,
  ): void {
    const context = trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true });
    for (const { name, start, end } of stages) {
      const kind = name === 'onewriter.queue' ? SpanKind.CONSUMER : SpanKind.INTERNAL;
      const span = this.#tracer.startSpan(name, { kind, startTime: start }, context);
      span.setAttributes({ 'onewriter.tenant': batch.tenant, 'onewriter.job': outcome.id });
      if (name === 'onewriter.apply') describeBatch(span, batch, outcome, writes);
      span.end(end);
    }
  }
}

function describeBatch(
  span: Span,
  { jobs, stats }: FinishedBatch,
  outcome: JobOutcome,
  writes: number,
): void {
  span.setAttributes({
    'onewriter.batch.jobs': jobs.length,
    'onewriter.batch.writes': writes,
    'onewriter.job.writes': outcome.writes,
    'onewriter.job.failures': outcome.failures,
    'onewriter.job.duplicate': outcome.duplicate,
    'onewriter.open_ms': stats.openMs,
  });
  if (outcome.error !== undefined) {
    span.setAttribute('error.type', outcome.error.code);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
}

/** @param offset of the monotonic clock to the epoch, ms. */
function toStages(batch: FinishedBatch, job: FinishedJobTimes, offset: number): readonly Stage[] {
  const { openMs, applyMs, commitMs, flushMs = 0 } = batch.stats;
  const fetched = offset + job.fetchedAt;
  const committed = offset + batch.committedAt;
  // Backwards from the times of this thread: the writer thread has a clock of its own.
  const flush = committed - flushMs;
  const commit = flush - commitMs;
  const apply = Math.max(commit - applyMs - openMs, fetched);
  const stages: Stage[] = [
    // The client's clock may be ahead of this one.
    { name: 'onewriter.queue', start: Math.min(job.enqueuedAt ?? fetched, fetched), end: fetched },
    { name: 'onewriter.lane', start: fetched, end: apply },
    { name: 'onewriter.apply', start: apply, end: Math.max(commit, apply) },
    { name: 'onewriter.commit', start: Math.max(commit, apply), end: flush },
  ];
  if (flushMs > 0) stages.push({ name: 'onewriter.flush', start: flush, end: committed });
  stages.push({ name: 'onewriter.complete', start: committed, end: offset + batch.finishedAt });
  return stages;
}
