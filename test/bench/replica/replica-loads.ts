import type { Scenario } from '../scenarios.ts';

/** Where a broker of the comparison replicates to, and whether callers wait for it. */
export type ReplicaKind = 'off' | 'async' | 'sync' | 'folder';

/** How tables call them. */
export const REPLICA_LABELS: Readonly<Record<ReplicaKind, string>> = {
  off: 'no replica',
  async: 'bucket, async',
  sync: 'bucket, sync',
  folder: 'folder, async',
};

/** A load, and the part of the throughput without a replica that is asked for. */
export interface ReplicaLoad extends Scenario {
  readonly asked: Readonly<Partial<Record<ReplicaKind, number>>>;
}

const ONE_TENANT = { tenants: 1, contestants: ['onewriter'] } as const;

/** All loads, in this order. */
export const REPLICA_LOADS: readonly ReplicaLoad[] = [
  {
    ...{ id: 'insert-1', title: '1 caller, single inserts', workload: 'insert', callers: 1 },
    ...{ ...ONE_TENANT, asked: { async: 0.93, folder: 0.93 } },
  },
  {
    ...{ id: 'insert-64', title: '64 callers, single inserts', workload: 'insert', callers: 64 },
    ...{ ...ONE_TENANT, asked: { async: 0.93, folder: 0.93 } },
  },
  {
    ...{ id: 'insert-256', title: '256 callers, single inserts', workload: 'insert', callers: 256 },
    ...{ ...ONE_TENANT, asked: { async: 0.93, sync: 0.4, folder: 0.93 } },
  },
  {
    ...{ id: 'rows-256', title: '4 callers, 256 rows a commit, random index', workload: 'insert-indexed' },
    ...{ callers: 4, ...ONE_TENANT, asked: { async: 0.9, folder: 0.9 } },
  },
];
