import type { BrokerStatus, MetricSample } from '@onewriter/protocol';
import type { ReplicaStatus } from '@onewriter/replicator';
import { expect, it } from 'vitest';
import { replicaFamilies } from './replica-metrics.ts';
import { readReplicaStatus } from './status/replica-status.ts';

const STATUS: ReplicaStatus = {
  stores: [
    {
      ...{ address: 'file:///a', ok: false, failingSince: 5, error: 'EIO', bytesOut: 7, bytesIn: 8 },
      requests: { get: 1, put: 2, delete: 3, list: 4 },
    },
    {
      ...{ address: 'file:///b', ok: true, bytesOut: 0, bytesIn: 0 },
      requests: { get: 0, put: 0, delete: 0, list: 0 },
      copy: { behindPacks: null, behindMs: 2_500, error: 'no rights' },
    },
  ],
  ...{
    term: 2,
    packs: 9,
    tenants: 3,
    lagMs: 1_500,
    lagBytes: 64,
    gaps: 1,
    damaged: { found: 2, tenants: ['acme'] },
  },
  worst: Array.from({ length: 60 }, (_, index) => ({
    ...{ tenant: `t${index}`, commitSeq: 1, commitAt: 2, lagCommits: 1, lagBytes: 1, lagMs: 1, gaps: 0 },
  })),
  failures: [{ tenant: 'acme', message: 'EIO', at: 6 }],
  rehearsals: {
    ...{ lastAt: 9_000, oldestAt: 4_000, unverified: 2, sound: 7, unsound: 1, failedTenants: 1 },
    failed: [{ tenant: 'acme', problems: ['a page differs'], commitSeq: 3, at: 8 }],
  },
};

it('shows the replica in the status, bounded, and its figures as metrics', () => {
  expect(readReplicaStatus({ status: undefined, available: false }, { waiting: 0 }, 100)).toBeUndefined();
  const replica = readReplicaStatus({ status: STATUS, available: false }, { waiting: 4 }, 100)!;
  expect(replica.worst).toHaveLength(50);
  expect(replica).toMatchObject({ available: false, bufferBytes: 100, waitingJobs: 4 });
  expect(replica.stores).toEqual(STATUS.stores);
  const values = (status: BrokerStatus) => {
    const read: Record<string, readonly MetricSample[]> = {};
    replicaFamilies((name, help, samples, type = 'gauge') => {
      read[name] = samples(status);
      return { name, help, type, read: () => [] };
    });
    return read;
  };
  const one = (value: number) => [{ labels: {}, value }];
  expect(values({ at: 10_000, replica } as BrokerStatus)).toMatchObject({
    onewriter_replica_available: one(0),
    onewriter_replica_store_up: [
      { labels: { store: 0 }, value: 0 },
      { labels: { store: 1 }, value: 1 },
    ],
    onewriter_replica_copy_behind_packs: [],
    onewriter_replica_copy_behind_seconds: [{ labels: { store: 1 }, value: 2.5 }],
    onewriter_replica_verified_total: [
      { labels: { outcome: 'ok' }, value: 7 },
      { labels: { outcome: 'failed' }, value: 1 },
    ],
    onewriter_replica_unsound_tenants: one(1),
    onewriter_replica_unverified_tenants: one(2),
    onewriter_replica_last_verified_age_seconds: one(1),
    onewriter_replica_oldest_verified_age_seconds: one(6),
    onewriter_replica_lag_seconds: one(1.5),
    onewriter_replica_lag_bytes: one(64),
    onewriter_replica_buffer_bytes: one(100),
    onewriter_replica_gaps_total: one(1),
    onewriter_replica_damaged_total: one(2),
    onewriter_replica_waiting_jobs: one(4),
    onewriter_replica_requests_total: [
      { labels: { store: 0, kind: 'get' }, value: 1 },
      { labels: { store: 0, kind: 'put' }, value: 2 },
      { labels: { store: 0, kind: 'delete' }, value: 3 },
      { labels: { store: 0, kind: 'list' }, value: 4 },
      ...['get', 'put', 'delete', 'list'].map(kind => ({ labels: { store: 1, kind }, value: 0 })),
    ],
    onewriter_replica_bytes_total: [
      { labels: { store: 0, direction: 'out' }, value: 7 },
      { labels: { store: 0, direction: 'in' }, value: 8 },
      { labels: { store: 1, direction: 'out' }, value: 0 },
      { labels: { store: 1, direction: 'in' }, value: 0 },
    ],
  });
  expect(Object.values(values({} as BrokerStatus)).flat()).toEqual([]);
});
