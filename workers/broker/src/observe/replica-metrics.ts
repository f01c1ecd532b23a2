import type { BrokerStatus, MetricSample, MetricSource, StatusReplica } from '@onewriter/protocol';

type Family = (
  name: string,
  help: string,
  read: (status: BrokerStatus) => readonly MetricSample[],
  type?: MetricSource['type'],
) => MetricSource;

/** The replica; no values where there is none. */
export function replicaFamilies(family: Family): MetricSource[] {
  const one =
    (read: (replica: StatusReplica) => number) =>
    ({ replica }: BrokerStatus): MetricSample[] =>
      replica === undefined ? [] : [{ labels: {}, value: read(replica) }];
  const each =
    (read: (store: StatusReplica['stores'][number]) => Readonly<Record<string, number>>, label: string) =>
    ({ replica }: BrokerStatus): MetricSample[] =>
      (replica?.stores ?? []).flatMap((store, index) =>
        Object.entries(read(store)).map(([name, value]) => ({
          labels: { store: index, [label]: name },
          value,
        })),
      );
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
  ];
}
