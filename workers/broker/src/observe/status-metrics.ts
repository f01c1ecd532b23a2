import {
  type BrokerStatus,
  type MetricSample,
  type MetricSource,
  type StatusApart,
  type StatusTenant,
  singleMetric,
} from '@onewriter/protocol';
import { type Family, valueIn } from './metric-family.ts';
import { replicaFamilies } from './replica-metrics.ts';

/*
 * What is sampled instead of counted (lanes, tenants, Redis, the disk) comes from the status that the leader makes every second, so
 * metrics and status cannot disagree.
 *
 * Tenants appear as the ten largest, and the rest as `other`: the number of series does not grow with tenants.
 */

/** Values that the metrics show besides the counters. */
export interface BrokerMetricsSource {
  /** The placement group. */
  readonly group: string;
  readonly leading: boolean;
  readonly epoch: number;
  /** Whether Redis is reachable. */
  readonly redis: boolean;
  /** Seconds until the lease is over, unless it is renewed; 0 where it is not held. */
  readonly leaseLeftSeconds: number;
  /** The last published status; undefined on a standby. */
  readonly status: BrokerStatus | undefined;
}

/** Gauges; those of the status have no value on a standby. */
export function sampledMetrics(source: BrokerMetricsSource): MetricSource[] {
  const always = (name: string, help: string, read: () => number) => singleMetric('gauge', name, help, read);
  const ofGroup = (name: string, help: string, read: () => number): MetricSource => ({
    name,
    help,
    type: 'gauge',
    read: () => [{ value: read(), labels: { group: source.group } }],
  });
  const gauge = (name: string, help: string, read: (status: BrokerStatus) => number): MetricSource => ({
    name,
    help,
    type: 'gauge',
    read: () => (source.status === undefined ? [] : [{ value: read(source.status), labels: {} }]),
  });
  const family = (
    name: string,
    help: string,
    read: (status: BrokerStatus) => readonly MetricSample[],
    type: MetricSource['type'] = 'gauge',
  ): MetricSource => ({
    name,
    help,
    type,
    read: () => (source.status === undefined ? [] : read(source.status)),
  });
  return [
    // With its group: alerts ask for each group whether it has a leader.
    ofGroup('onewriter_leading', 'Whether this broker leads.', () => Number(source.leading)),
    ofGroup('onewriter_epoch', 'The epoch this broker leads with, or led with last.', () => source.epoch),
    always(
      'onewriter_lease_left_seconds',
      'Time until the lease is over unless it is renewed.',
      () => source.leaseLeftSeconds,
    ),
    gauge('onewriter_leading_since_seconds', 'When it began to lead.', ({ leader }) => leader.since / 1_000),
    family(
      'onewriter_queue_jobs',
      'Jobs that are not applied: waiting in Redis, held by the broker.',
      ({ queue }) => [
        { labels: { state: 'waiting' }, value: queue.waitingJobs },
        { labels: { state: 'held' }, value: queue.heldJobs },
      ],
    ),
    gauge('onewriter_sessions', 'Tenants with work in the last minutes.', ({ tenants }) => tenants.open),
    gauge(
      'onewriter_active_tenants',
      'Tenants with work in the last 10 to 20 s.',
      ({ tenants }) => tenants.active,
    ),
    gauge('onewriter_known_tenants', 'Tenants ever seen in this group.', ({ tenants }) => tenants.known),
    family(
      'onewriter_max_open_tenants',
      'Tenants that the threads keep open, from ulimit -n and memory.',
      it => (it.files === undefined ? [] : [{ labels: {}, value: it.files.maxOpenTenants }]),
    ),
    gauge('onewriter_lanes', 'Writer threads, spare ones included.', ({ lanes }) => lanes.length),
    gauge('onewriter_spare_lanes', 'Writer threads opened because all others were held up.', ({ lanes }) =>
      count(lanes, lane => lane.spare),
    ),
    gauge('onewriter_busy_lanes', 'Writer threads at work.', ({ lanes }) =>
      count(lanes, lane => lane.tenant !== null),
    ),
    family('onewriter_lane_busy_ratio', 'Share of the last second that a thread had work.', ({ lanes }) =>
      lanes.map(({ lane, busyShare }) => ({ labels: { lane }, value: busyShare })),
    ),
    gauge(
      'onewriter_lane_held_seconds',
      'How long the longest running batch has been in its thread.',
      ({ lanes }) => lanes.reduce((longest, { tenantForMs }) => Math.max(longest, tenantForMs / 1_000), 0),
    ),
    family(
      'onewriter_writer_thread_restarts_total',
      'Writer threads that ended in the middle of their work and were replaced.',
      it => [{ labels: {}, value: it.process.writerThreadRestarts }],
      'counter',
    ),
    gauge('onewriter_waiting_tenants', 'Tenants that wait for a thread.', ({ lanes }) =>
      lanes.reduce((sum, lane) => sum + lane.waitingTenants, 0),
    ),
    ...apartFamilies(family),
    gauge('onewriter_parked_tenants', 'Tenants whose file refuses writes.', ({ parked }) => parked.total),
    family(
      'onewriter_hibernated_tenants',
      'Tenants whose files lie in the replica only.',
      valueIn(
        ({ hibernation }) => hibernation,
        ({ tenants }) => tenants,
      ),
    ),
    gauge(
      'onewriter_open_transactions',
      'Interactive transactions that are open.',
      it => it.transactions.total,
    ),
    gauge(
      'onewriter_dead_letters_waiting',
      'Writes set aside, in their queue.',
      it => it.deadLetters.waiting,
    ),
    gauge(
      'onewriter_wal_held_tenants',
      'Tenants whose write-ahead log grows because a reader does not end its transaction.',
      ({ wal }) => wal.heldTotal,
    ),
    gauge('onewriter_wal_held_largest_bytes', 'Size of the largest of those logs.', ({ wal }) =>
      wal.held.reduce((largest, { bytes }) => Math.max(largest, bytes), 0),
    ),
    gauge(
      'onewriter_disk_total_bytes',
      'Size of the file system of the data directory.',
      it => it.disk.totalBytes,
    ),
    gauge('onewriter_disk_free_bytes', 'Free on it.', ({ disk }) => disk.freeBytes),
    gauge(
      'onewriter_redis_round_trip_seconds',
      'A PING from the broker.',
      it => it.redis.roundTripMs / 1_000,
    ),
    gauge(
      'onewriter_redis_memory_used_bytes',
      'Memory that Redis uses.',
      ({ redis }) => redis.usedMemoryBytes,
    ),
    gauge('onewriter_redis_memory_max_bytes', 'Its limit; 0 is none.', ({ redis }) => redis.maxMemoryBytes),
    gauge('onewriter_redis_noeviction', 'Whether maxmemory-policy is noeviction.', ({ redis }) =>
      Number(redis.maxMemoryPolicy === 'noeviction'),
    ),
    gauge('onewriter_redis_aof_enabled', 'Whether Redis has an append-only file.', ({ redis }) =>
      Number(redis.aofEnabled),
    ),
    gauge(
      'onewriter_redis_persistence_ok',
      'Whether the last writes of AOF and snapshot succeeded.',
      ({ redis }) => Number(redis.aofLastWriteOk && redis.rdbLastSaveOk),
    ),
    ...tenantFamilies(family),
    ...replicaFamilies(family),
  ];
}

/** The process for jobs that may end their process. */
function apartFamilies(family: Family): MetricSource[] {
  const of = (read: (apart: StatusApart) => number) => valueIn(({ apart }) => apart, read);
  return [
    family(
      'onewriter_apart_running',
      'Whether the process for jobs that may end their process runs.',
      of(({ running }) => Number(running)),
    ),
    family(
      'onewriter_apart_held_seconds',
      'How long its batch has run.',
      of(({ tenantForMs }) => tenantForMs / 1_000),
    ),
    family(
      'onewriter_apart_waiting_tenants',
      'Tenants that wait for it.',
      of(({ waitingTenants }) => waitingTenants),
    ),
    family(
      'onewriter_apart_restarts_total',
      'How often it ended in the middle of its work.',
      of(({ restarts }) => restarts),
      'counter',
    ),
    family(
      'onewriter_replacements',
      'Replacements of the broker because of writes, within the window of offences.',
      of(({ replacements }) => replacements),
    ),
    family(
      'onewriter_replacements_spent',
      'Whether these are too many: offenders and new tenants run apart.',
      of(({ spentForMs }) => Number(spentForMs > 0)),
    ),
  ];
}

function tenantFamilies(family: Family): MetricSource[] {
  const rows = (tenants: readonly StatusTenant[], read: (row: StatusTenant) => number): MetricSample[] =>
    tenants.map(row => ({ labels: { tenant: row.tenant }, value: read(row) }));
  const withOther = (samples: MetricSample[], total: number): MetricSample[] => {
    // A tenant may have that name; two values of one series would make the whole page invalid.
    const others = samples.filter(({ labels }) => labels['tenant'] !== 'other');
    const named = others.reduce((sum, { value }) => sum + value, 0);
    return [...others, { labels: { tenant: 'other' }, value: Math.max(total - named, 0) }];
  };
  return [
    family(
      'onewriter_tenant_writes_per_second',
      'Writes of the ten busiest tenants in the last 10 to 20 s, and of the others together.',
      ({ tenants }) =>
        withOther(
          rows(tenants.busiest, row => row.writesPerSecond),
          tenants.writesPerSecond,
        ),
    ),
    family(
      'onewriter_tenant_queue_jobs',
      'Jobs not applied of the ten tenants with most, and of the others together.',
      ({ tenants, queue }) =>
        withOther(
          rows(tenants.deepest, row => row.queuedJobs),
          queue.depth,
        ),
    ),
    family(
      'onewriter_tenant_batch_seconds',
      'Mean duration of a batch in the thread, of the ten slowest.',
      it => rows(it.tenants.slowest, row => row.meanBatchMs / 1_000),
    ),
    family(
      'onewriter_tenant_delay_seconds',
      'Longest delay of a job in the last 10 to 20 s, of the ten most delayed.',
      it => rows(it.tenants.delayed, row => row.maxDelayMs / 1_000),
    ),
    family('onewriter_tenant_wal_bytes', 'Write-ahead log in use, of the ten largest.', ({ wal }) =>
      wal.largest.map(({ tenant, bytes }) => ({ labels: { tenant }, value: bytes })),
    ),
  ];
}

function count<Item>(items: readonly Item[], is: (item: Item) => boolean): number {
  return items.reduce((sum, item) => sum + Number(is(item)), 0);
}
