import {
  describeStatement,
  formatTraceparent,
  isOnewriterError,
  LIMITS,
  type WireOperationResult,
} from '@onewriter/protocol';
import {
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { EncodedWrite } from './encoded-write.ts';
import type { OutboundJob } from './outbound-job.ts';
import type { PendingWrite } from './pending-write.ts';
import type { SettledBy, WriteCaller, WriteSpans } from './write-caller.ts';

/*
 * The spans of a write. All but the first are its children; the broker's come by way of the job's `tp`.
 *
 *   onewriter.write     from the call to its answer; child of the caller's span
 *     .coalesce           until it is in a job
 *     .enqueue            until the queue has the job
 *     .queue .lane .apply .commit .flush .complete       (broker: write-spans.ts)
 *     .settle             from the news of the commit to the answer
 *
 * SQL is shown without its literals, and parameters not at all.
 */

/** Makes the SDK's spans; there is none where tracing is off. */
export class WriteTracer {
  readonly #tracer: Tracer;

  /** @param tracer of the registered provider; without a provider it makes nothing, and no trace is sent along */
  constructor(tracer: Tracer = trace.getTracer('@onewriter/sdk')) {
    this.#tracer = tracer;
  }

  /** A write begins. @returns what to put in the caller's place; undefined where its trace is not recorded. */
  begin(tenant: string, payload: EncodedWrite, caller: WriteCaller): WriteTrace | undefined {
    const { sql, sealed } = payload;
    const span = this.#tracer.startSpan('onewriter.write', {
      kind: SpanKind.CLIENT,
      attributes: {
        'db.system.name': 'sqlite',
        'db.namespace': tenant,
        'db.query.summary': sealed?.description ?? describeStatement(sql[0] ?? ''),
        'onewriter.statements': sealed?.texts ?? sql.length,
      },
    });
    return span.isRecording() ? new WriteTrace(this.#tracer, span, caller) : undefined;
  }

  /** Writes leave together. @returns the contexts to send along, in the order of the writes. */
  depart(writes: readonly PendingWrite[]): readonly string[] {
    const sent: SpanContext[] = [];
    for (const { trace: traced } of writes) {
      if (traced === undefined) continue;
      const own = traced.depart(sent.length < LIMITS.maxTracedWrites ? undefined : sent[0]);
      if (sent.length < LIMITS.maxTracedWrites) sent.push(own);
    }
    return sent.map(formatTraceparent);
  }

  /** The queue has the job. */
  accept(job: OutboundJob): void {
    for (const write of job.writes) write.trace?.accept();
  }

  /** The outcome of the job is known here. */
  arrive(job: OutboundJob, by: SettledBy): void {
    for (const write of job.writes) if (!write.settled) write.trace?.arrive(by);
  }
}

/** The spans of one write; stands between the write and its caller. */
class WriteTrace implements WriteSpans {
  readonly #tracer: Tracer;
  readonly #span: Span;
  readonly #caller: WriteCaller;
  /** The stage it is in: of `coalesce`, `enqueue` and `settle` one at a time. */
  #stage: Span | undefined;

  constructor(tracer: Tracer, span: Span, caller: WriteCaller) {
    this.#tracer = tracer;
    this.#span = span;
    this.#caller = caller;
    this.#enter('onewriter.coalesce');
  }

  depart(companion: SpanContext | undefined): SpanContext {
    this.#enter('onewriter.enqueue', companion && [{ context: companion }]);
    return this.#span.spanContext();
  }

  accept(): void {
    this.#leave();
  }

  arrive(by: SettledBy): void {
    this.#enter('onewriter.settle');
    this.#span.setAttribute('onewriter.settled_by', by);
  }

  resolve(
    result: WireOperationResult | undefined,
    commitSeq: number,
    write: { readonly receipt: string },
  ): void {
    try {
      this.#span.setAttribute('onewriter.receipt', write.receipt);
      if (result !== undefined) this.#span.setAttribute('onewriter.commit_seq', commitSeq);
      this.#caller.resolve(result, commitSeq, write);
    } finally {
      this.#end();
    }
  }

  reject(error: unknown): void {
    try {
      const known = isOnewriterError(error);
      if (known && error.details.receiptId)
        this.#span.setAttribute('onewriter.receipt', error.details.receiptId);
      this.#span.setAttribute('error.type', known ? error.code : 'INTERNAL');
      this.#span.setStatus({ code: SpanStatusCode.ERROR, ...(known ? { message: error.message } : {}) });
      this.#caller.reject(error);
    } finally {
      this.#end();
    }
  }

  #enter(name: string, links: Link[] = []): void {
    this.#leave();
    this.#stage = this.#tracer.startSpan(name, { links }, trace.setSpan(ROOT_CONTEXT, this.#span));
  }

  #leave(): void {
    this.#stage?.end();
    this.#stage = undefined;
  }

  #end(): void {
    this.#leave();
    this.#span.end();
  }
}
