import type {
  BrokerStatus,
  MetricSample,
  MetricSource,
  StatusRehearsals,
  StatusReplica,
  StatusReplicaCopy,
} from '@onewriter/protocol';
import { type Family, valueIn } from './metric-family.ts';

/** The replica; no values where there is none. */
export function replicaFamilies(family: Family): MetricSource[] {
  const one = (read: (replica: StatusReplica) => number) => valueIn(({ replica }) => replica, read);
  const each =
    (read: (store: StatusReplica['stores'][number]) => Readonly<Record<string, number>>, label: string) =>
    ({ replica }: BrokerStatus): MetricSample[] =>
      (replica?.stores ?? []).flatMap((store, index) =>
        Object.entries(read(store)).map(([name, value]) => ({
          labels: { store: index, [label]: name },
          value,
        })),
      );
  const ofCopies =
    (read: (copy: StatusReplicaCopy) => number | null) =>
    ({ replica }: BrokerStatus): MetricSample[] =>
      (replica?.stores ?? []).flatMap(({ copy }, store) => {
        const value = copy === undefined ? null : read(copy);
        return value === null ? [] : [{ labels: { store }, value }];
      });
  const ofRehearsals = (read: (rehearsals: StatusRehearsals, status: BrokerStatus) => number | null) =>
    valueIn(({ replica }) => replica?.rehearsals, read);
  return [
    family(
      'onewriter_replica_available',
      'Whether writes may wait for the store of the replica.',
      one(({ available }) => Number(available)),
    ),
    family('onewriter_replica_store_up', 'Whether each store answers; 0 is the first.', ({ replica }) =>
      (replica?.stores ?? []).map(({ ok }, index) => ({ labels: { store: index }, value: Number(ok) })),
    ),
    family(
      'onewriter_replica_lag_seconds',
      'Age of the oldest commit that is not stored.',
      one(({ lagMs }) => lagMs / 1_000),
    ),
    family(
      'onewriter_replica_lag_bytes',
      'Captured and not stored.',
      one(({ lagBytes }) => lagBytes),
    ),
    family(
      'onewriter_replica_buffer_bytes',
      'Bound of onewriter_replica_lag_bytes.',
      one(({ bufferBytes }) => bufferBytes),
    ),
    family(
      'onewriter_replica_gaps_total',
      'Times that the history of a tenant was broken.',
      one(({ gaps }) => gaps),
      'counter',
    ),
    family(
      'onewriter_replica_damaged_total',
      'Segments and packs that the store changed.',
      one(({ damaged }) => damaged?.found ?? 0),
      'counter',
    ),
    family(
      'onewriter_replica_waiting_jobs',
      'Committed jobs whose callers wait for the replica.',
      one(({ waitingJobs }) => waitingJobs),
    ),
    family(
      'onewriter_replica_packs',
      'Number of the newest pack.',
      one(({ packs }) => packs),
    ),
    family(
      'onewriter_replica_tenants',
      'Tenants that the replica has.',
      one(({ tenants }) => tenants),
    ),
    family(
      'onewriter_replica_requests_total',
      'Requests to each store, by kind.',
      each(({ requests }) => requests, 'kind'),
      'counter',
    ),
    family(
      'onewriter_replica_bytes_total',
      'Bytes to and from each store.',
      each(({ bytesIn, bytesOut }) => ({ out: bytesOut, in: bytesIn }), 'direction'),
      'counter',
    ),
    family(
      'onewriter_replica_copy_behind_packs',
      'Packs that a further store lacks.',
      ofCopies(({ behindPacks }) => behindPacks),
    ),
    family(
      'onewriter_replica_copy_behind_seconds',
      'A further store lacks nothing that is older.',
      ofCopies(({ behindMs }) => behindMs / 1_000),
    ),
    family(
      'onewriter_replica_verified_total',
      'Tenants restored for a test, by outcome.',
      ({ replica: { rehearsals } = {} }) =>
        rehearsals === undefined
          ? []
          : [
              { labels: { outcome: 'ok' }, value: rehearsals.sound },
              { labels: { outcome: 'failed' }, value: rehearsals.unsound },
            ],
      'counter',
    ),
    family(
      'onewriter_replica_unsound_tenants',
      'Tenants whose last restore for a test failed.',
      ofRehearsals(({ failedTenants }) => failedTenants),
    ),
    family(
      'onewriter_replica_unverified_tenants',
      'Tenants that were never restored for a test.',
      ofRehearsals(({ unverified }) => unverified),
    ),
    family(
      'onewriter_replica_last_verified_age_seconds',
      'Since any tenant was restored for a test.',
      ofRehearsals(({ lastAt, oldestAt, unverified }, { at }) =>
        oldestAt === null && unverified === 0 ? null : Math.max(0, at - lastAt) / 1_000,
      ),
    ),
    family(
      'onewriter_replica_oldest_verified_age_seconds',
      'Since the tenant was restored for a test whose turn is the longest ago.',
      ofRehearsals(({ oldestAt }, { at }) => (oldestAt === null ? null : Math.max(0, at - oldestAt) / 1_000)),
    ),
  ];
}
