import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { describe, expect, it } from 'vitest';
import type { FinishedBatch } from './finished-batch.ts';
import { WriteSpans } from './write-spans.ts';

const PARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const OTHER = '00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b8-01';

const job = (id: string, ...parents: string[]) => {
  const traced = parents.length === 0 ? '' : `,"tp":${JSON.stringify(parents)}`;
  return { id, data: `{"v":1,"client":"c-1","seq":1,"at":1${traced},"sql":["x"],"ops":[{"s":0}]}` };
};

function batchOf(jobs: readonly { id: string; data: string }[], stats: object = {}): FinishedBatch {
  const now = performance.now();
  return {
    tenant: 'acme',
    jobs: jobs.map(it => ({ ...it, enqueuedAt: Date.now() - 100, fetchedAt: now - 90 })),
    outcomes: jobs.map(({ id }) => ({
      id,
      client: 'c-1',
      writes: 1,
      failures: 0,
      duplicate: false,
      commitSeq: 7,
      results: '[[1,1]]',
    })),
    stats: { openMs: 1, applyMs: 20, commitMs: 10, checkpointMs: 0, walBytes: 0, commits: 1, ...stats },
    queuedAt: now - 80,
    begunAt: now - 60,
    committedAt: now - 20,
    finishedAt: now,
  };
}

function record(batch: FinishedBatch) {
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  new WriteSpans(provider.getTracer('test')).observe(batch);
  return exporter.getFinishedSpans().map(span => ({
    name: span.name.replace('onewriter.', ''),
    trace: span.spanContext().traceId.at(-1),
    parent: span.parentSpanContext?.spanId,
    ms: Math.round(span.duration[0] * 1_000 + span.duration[1] / 1e6),
    attributes: span.attributes,
  }));
}

describe('the spans of a batch', () => {
  it('follow one another, as children of the write', () => {
    const spans = record(batchOf([job('w-1', PARENT)]));
    const [queue, ...inBroker] = spans;
    // The client's clock has whole milliseconds.
    expect(queue!.name).toBe('queue');
    expect(Math.abs(queue!.ms - 10)).toBeLessThanOrEqual(2);
    expect(inBroker.map(({ name, ms }) => [name, ms])).toEqual([
      ['lane', 39], // 70 until it was committed, less what the thread did
      ['apply', 21],
      ['commit', 10],
      ['complete', 20],
    ]);
    expect(new Set(spans.map(({ parent }) => parent))).toEqual(new Set(['00f067aa0ba902b7']));
    expect(spans[2]!.attributes).toMatchObject({
      'onewriter.tenant': 'acme',
      'onewriter.job': 'w-1',
      'onewriter.batch.jobs': 1,
    });
  });

  it('show a flush apart from the commit', () => {
    const spans = record(batchOf([job('w-1', PARENT)], { flushMs: 5 }));
    expect(spans.map(({ name }) => name)).toEqual(['queue', 'lane', 'apply', 'commit', 'flush', 'complete']);
    expect(spans.at(-2)!.ms).toBe(5);
  });

  it('are in the trace of each write that is traced, and there are none for others', () => {
    const spans = record(batchOf([job('w-1', PARENT, OTHER), job('w-2'), job('w-3', OTHER)]));
    expect(spans.map(({ trace }) => trace).join('')).toBe('666667777777777');
  });

  it('never run backwards, whatever the clocks say', () => {
    const batch = batchOf([job('w-1', PARENT)], { applyMs: 5_000 });
    const ahead = { ...batch, jobs: batch.jobs.map(it => ({ ...it, enqueuedAt: Date.now() + 60_000 })) };
    for (const { ms } of record(ahead)) expect(ms).toBeGreaterThanOrEqual(0);
  });
});
