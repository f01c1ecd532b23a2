import type { BrokerStatus, MetricSample } from '@onewriter/protocol';
import type { ReplicaStatus } from '@onewriter/replicator';
import { expect, it } from 'vitest';
import { replicaFamilies } from './replica-metrics.ts';
import { readReplicaStatus } from './status/replica-status.ts';

const STATUS: ReplicaStatus = {
  stores: [
    {
      ...{ address: 'file:///a', ok: false, failingSinceMs: 5, error: 'EIO', bytesOut: 7, bytesIn: 8 },
      requests: { get: 1, put: 2, delete: 3, list: 4 },
    },
  ],
  ...{ term: 2, packs: 9, tenants: 3, lagMs: 1_500, lagBytes: 64, gaps: 1 },
  worst: Array.from({ length: 60 }, (_, index) => ({
    ...{ tenant: `t${index}`, pos: 1, commitSeq: 1, commitMs: 2, storedMs: 3, lagCommits: 1, lagBytes: 1 },
    ...{ lagMs: 1, gaps: 0, verifiedMs: undefined, verifiedPos: undefined },
  })),
};

it('shows the replica in the status, bounded, and its figures as metrics', () => {
  expect(readReplicaStatus({ status: undefined, available: false }, { waiting: 0 }, 100)).toBeUndefined();
  const replica = readReplicaStatus({ status: STATUS, available: false }, { waiting: 4 }, 100)!;
  expect(replica.worst).toHaveLength(50);
  expect(replica.stores[0]).toMatchObject({ failingSince: 5, error: 'EIO' });
  const values = (status: BrokerStatus) => {
    const read: Record<string, readonly MetricSample[]> = {};
    replicaFamilies((name, help, samples, type = 'gauge') => {
      read[name] = samples(status);
      return { name, help, type, read: () => [] };
    });
    return read;
  };
  const one = (value: number) => [{ labels: {}, value }];
  expect(values({ replica } as BrokerStatus)).toMatchObject({
    onewriter_replica_available: one(0),
    onewriter_replica_store_up: [{ labels: { store: 0 }, value: 0 }],
    onewriter_replica_lag_seconds: one(1.5),
    onewriter_replica_lag_bytes: one(64),
    onewriter_replica_buffer_bytes: one(100),
    onewriter_replica_gaps_total: one(1),
    onewriter_replica_waiting_jobs: one(4),
    onewriter_replica_requests_total: [
      { labels: { store: 0, kind: 'get' }, value: 1 },
      { labels: { store: 0, kind: 'put' }, value: 2 },
      { labels: { store: 0, kind: 'delete' }, value: 3 },
      { labels: { store: 0, kind: 'list' }, value: 4 },
    ],
    onewriter_replica_bytes_total: [
      { labels: { store: 0, direction: 'out' }, value: 7 },
      { labels: { store: 0, direction: 'in' }, value: 8 },
    ],
  });
  expect(Object.values(values({} as BrokerStatus)).flat()).toEqual([]);
});
