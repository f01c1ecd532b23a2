import { OnewriterError } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { ClientMetrics } from './client-metrics.ts';
import { CountedReads } from './read/counted-reads.ts';
import type { ReadRequest, Reads } from './read/reads.ts';
import type { LedgerReader } from './settle/ledger.ts';

const STATS = { bufferedWrites: 1, outstandingWrites: 2, outstandingJobs: 1, heldBytes: 3, openReaders: 4 };
const REQUEST: ReadRequest = { tenant: 'acme', sql: 'SELECT 1', params: [], options: {} };

interface Shown {
  readonly name: string;
  readonly get: () => Promise<{
    readonly values: readonly {
      readonly value: number;
      readonly labels: object;
      readonly metricName?: string;
    }[];
  }>;
}

/** What a registry would show of one metric. */
async function show(metrics: ClientMetrics, name: string) {
  const shown: Shown[] = [];
  metrics.register({ registerMetric: (metric: never) => void shown.push(metric) }, () => STATS);
  const { values } = await shown.find(metric => metric.name === name)!.get();
  return values;
}

function readsThat(get: Reads['get']) {
  const metrics = new ClientMetrics();
  const reads = { route: 'file', openReaders: 0, get } as unknown as Reads & LedgerReader;
  return { metrics, reads: new CountedReads(reads, metrics) };
}

describe('CountedReads', () => {
  it('hands an answer on as it is, and times one in sixteen', async () => {
    const { metrics, reads } = readsThat(() => ({ one: 1 }));
    for (let count = 0; count < 33; count++) expect(reads.get(REQUEST)).toEqual({ one: 1 });
    expect(await show(metrics, 'onewriter_client_reads_total')).toEqual([{ value: 33, labels: {} }]);
    const times = await show(metrics, 'onewriter_client_read_seconds');
    expect(times.at(-1)).toMatchObject({ metricName: 'onewriter_client_read_seconds_count', value: 3 });
  });

  it('counts errors by code, thrown and by rejection', async () => {
    const late = new OnewriterError('TIMEOUT', 'late');
    const thrown = readsThat(() => {
      throw late;
    });
    expect(() => thrown.reads.get(REQUEST)).toThrow(late);
    const rejected = readsThat(() => Promise.reject(new TypeError('a mistake')));
    await expect(rejected.reads.get(REQUEST)).rejects.toThrow('a mistake');
    const errors = async (metrics: ClientMetrics) =>
      (await show(metrics, 'onewriter_client_errors_total')).filter(({ value }) => value > 0);
    expect(await errors(thrown.metrics)).toEqual([{ value: 1, labels: { code: 'TIMEOUT' } }]);
    expect(await errors(rejected.metrics)).toEqual([{ value: 1, labels: { code: 'other' } }]);
  });
});

it('shows what the client holds now', async () => {
  const metrics = new ClientMetrics();
  expect(await show(metrics, 'onewriter_client_held_bytes')).toEqual([{ value: 3, labels: {} }]);
  // What has not occurred yet is 0: then its first occurrence is an increase.
  const codes = (await show(metrics, 'onewriter_client_errors_total')).map(({ labels }) => labels);
  expect(codes).toContainEqual({ code: 'OUTCOME_UNKNOWN' });
});
