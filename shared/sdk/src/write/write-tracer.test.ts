import { LIMITS, OnewriterError, PROTOCOL_VERSION, readTraceparents } from '@onewriter/protocol';
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AlwaysOffSampler,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ABSENT, type LedgerReader } from '../settle/ledger.ts';
import { encodeStatement } from './encoded-write.ts';
import type { OutboundJob } from './outbound-job.ts';
import type { JobSender, SendOutcome } from './sender.ts';
import { WritePath } from './write-path.ts';
import { WriteTracer } from './write-tracer.ts';

const exporter = new InMemorySpanExporter();
const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
const tracer = provider.getTracer('test');

beforeEach(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});

afterEach(() => {
  context.disable();
  exporter.reset();
});

const spans = () =>
  exporter.getFinishedSpans().map(span => ({ ...span, name: span.name, id: span.spanContext().spanId }));
const named = (name: string) => spans().filter(span => span.name === `onewriter.${name}`);

/** A queue that accepts what the test lets it accept, and a broker that answers as the test says. */
class Queue implements JobSender {
  readonly downSince = undefined;
  readonly jobs: { id: string; message: string; writes: number }[] = [];
  outcomes: SendOutcome[] = [];
  readonly maxQueueBytes = 1_000_000;
  refusal = () => undefined;
  load = async () => ({ jobs: 0, bytes: 0 });
  readyToRetry = async () => {};
  withdraw = async () => false;

  async send(job: OutboundJob): Promise<SendOutcome> {
    this.jobs.push({ id: job.id, message: String(job.message), writes: job.writes.length });
    return this.outcomes.shift() ?? { kind: 'accepted', depth: 0 };
  }
}

function open(
  { tracer: writeTracer }: { tracer: WriteTracer | undefined } = { tracer: new WriteTracer(tracer) },
) {
  const queue = new Queue();
  const ledger: LedgerReader = { lookNow: () => ABSENT, look: async () => ABSENT };
  const states = {
    look: async (jobs: readonly unknown[]) => jobs.map(() => 'queued' as const),
    answer: async () => undefined,
  };
  const logger = { warn() {}, error() {} };
  const path = new WritePath({
    clientId: 'c-1',
    sender: queue,
    states,
    ledger,
    logger,
    writeTimeoutMs: 5_000,
    tracer: writeTracer,
  });
  const write = (n = 1) =>
    path.run('acme', encodeStatement({ sql: `INSERT INTO t VALUES (${n}, 'secret')`, params: [] }, {}), {});
  const answer = async (result: (index: number) => unknown = () => [1, 1]) => {
    await Promise.resolve();
    await new Promise(resolve => setImmediate(resolve));
    const { id, writes } = queue.jobs.at(-1)!;
    path.settler.onEvent({
      v: String(PROTOCOL_VERSION),
      jobId: id,
      commitSeq: '7',
      results: JSON.stringify(Array.from({ length: writes }, (_, index) => result(index))),
      error: '',
    });
  };
  return { queue, path, write, answer };
}

describe('the spans of a write', () => {
  it('are children of the caller’s span, and travel with the job', async () => {
    const { queue, write, answer } = open();
    const caller = tracer.startSpan('caller');
    const written = context.with(trace.setSpan(context.active(), caller), () => write());
    await answer();
    await written;
    const [root] = named('write');
    expect(root).toMatchObject({
      parentSpanContext: { spanId: caller.spanContext().spanId },
      attributes: {
        'db.namespace': 'acme',
        'db.query.summary': 'INSERT INTO t VALUES (?, ?)',
        'onewriter.commit_seq': 7,
        'onewriter.receipt': `${queue.jobs[0]!.id}.0`,
        'onewriter.settled_by': 'event',
      },
    });
    expect(readTraceparents(queue.jobs[0]!.message)).toEqual([
      { traceId: caller.spanContext().traceId, spanId: root!.id, traceFlags: 1 },
    ]);
    expect(spans().map(({ name }) => name.replace('onewriter.', ''))).toEqual([
      ...['coalesce', 'enqueue', 'settle', 'write'],
    ]);
    for (const stage of ['coalesce', 'enqueue', 'settle']) {
      expect(named(stage)[0]!.parentSpanContext?.spanId).toBe(root!.id);
    }
  });

  it('say why a write failed', async () => {
    const { write, answer } = open();
    const written = write();
    await answer(() => ({ e: { code: 'CONSTRAINT_VIOLATION', message: 'UNIQUE constraint failed: t.a' } }));
    await expect(written).rejects.toBeInstanceOf(OnewriterError);
    expect(named('write')[0]).toMatchObject({
      attributes: { 'error.type': 'CONSTRAINT_VIOLATION' },
      status: { code: 2, message: 'UNIQUE constraint failed: t.a' },
    });
  });

  it('show a write that could not go at first as one that was sent twice', async () => {
    const { queue, write, answer } = open();
    queue.outcomes = [{ kind: 'unsent', cause: new Error('LOADING') }];
    const written = write();
    await answer();
    await written;
    expect(queue.jobs).toHaveLength(2);
    expect(named('enqueue')).toHaveLength(2);
    expect(named('write')).toHaveLength(1);
  });

  it('come with the job for a bounded number of its writes; the others say where to look', async () => {
    const { queue, write, answer } = open();
    const writes = Array.from({ length: 20 }, (_, n) => write(n));
    await answer();
    await Promise.all(writes);
    const sent = readTraceparents(queue.jobs[0]!.message);
    expect(sent).toHaveLength(LIMITS.maxTracedWrites);
    expect(named('write')).toHaveLength(20);
    const linked = named('enqueue').filter(({ links }) => links.length > 0);
    expect(linked).toHaveLength(20 - LIMITS.maxTracedWrites);
    expect(linked[0]!.links[0]!.context.spanId).toBe(sent[0]!.spanId);
  });

  it('are not there for a trace that is not recorded, nor where tracing is off', async () => {
    const off = new TracerProvider({ sampler: new AlwaysOffSampler(), spanProcessors: [] });
    for (const writeTracer of [new WriteTracer(off.getTracer('test')), new WriteTracer(), undefined]) {
      const { queue, write, answer } = open({ tracer: writeTracer });
      const written = write();
      await answer();
      await written;
      expect(queue.jobs[0]!.message).not.toContain('"tp"');
    }
    expect(spans()).toEqual([]);
  });
});
