import {
  type BrokerStatus,
  DurationHistogram,
  LabelledCounter,
  type MetricSample,
  type MetricSource,
  registerMetrics,
  type StatusTenant,
  singleMetric,
} from '@onewriter/protocol';
import { createProcessRegistry } from '@onewriter/runtime';
import type { AppliedOutcome } from '@onewriter/writer';
import type { Registry } from 'prom-client';
import type { Totals } from './status/rate-window.ts';

/*
 * The counters of a broker. The hot path adds to plain numbers, per batch and per job, never per write; they are converted to
 * Prometheus' form on request. What is sampled instead of counted (lanes, tenants, Redis, the disk) comes from the status that
 * the leader makes every second, so metrics and status cannot disagree.
 *
 * Tenants appear as the ten largest, and the rest as `other`: the number of series does not grow with tenants.
 */

/**
 * The stages of a write in the broker, in order; those of the client are in @onewriter/sdk.
 *
 *   queue       enqueued by the client → fetched from the queue
 *   prefetch    fetched → first in its tenant's line: the batch before it is done
 *   lane        → its turn at the thread
 *   handover    → the thread and back, and behind other tenants' batches in the thread
 *   open        opening the file, where it was not open
 *   apply       the statements
 *   commit      COMMIT, with its flush where the tenant was alone
 *   flush       the flush, where several tenants are flushed together
 *   completion  → its callers answered
 */
export const STAGES = [
  'queue',
  'prefetch',
  'lane',
  'handover',
  'open',
  'apply',
  'commit',
  'flush',
  'completion',
] as const;

/** One of {@link STAGES}. */
export type Stage = (typeof STAGES)[number];

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

/** Counts and measures what a broker does; names after the Prometheus conventions. */
export class BrokerMetrics {
  readonly registry: Registry;
  /** Enqueue to commit, by job. */
  readonly delay = new DurationHistogram();
  /** COMMIT and its flush, by batch. */
  readonly commit = new DurationHistogram();
  readonly #stages = new Map<Stage, DurationHistogram>(STAGES.map(stage => [stage, new DurationHistogram()]));
  readonly #checkpoints = new DurationHistogram();
  readonly #writes = new LabelledCounter('onewriter_writes_total', 'Writes by result.', 'result', [
    'committed',
    'failed',
  ]);
  readonly #jobs = new LabelledCounter(
    'onewriter_jobs_total',
    'Jobs by result; a duplicate was applied before and is answered from the ledger, a refused one failed as a whole.',
    'result',
    ['applied', 'duplicate', 'refused'],
  );
  readonly #failures = new LabelledCounter(
    'onewriter_write_failures_total',
    'Writes that failed, by error code: the answer to a caller, not a fault of the broker.',
    'code',
  );
  readonly #refusals = new LabelledCounter(
    'onewriter_refused_batches_total',
    'Batches that a tenant file refused, by error code; most are tried again.',
    'code',
    [
      'DATABASE_IO_ERROR',
      'DATABASE_FULL',
      'DATABASE_CORRUPT',
      'DATABASE_BUSY',
      'TENANT_UNAVAILABLE',
      'FENCED',
    ],
  );
  #commits = 0;
  #batches = 0;
  #jobBytes = 0;
  #evicted = 0;
  #deadLetters = 0;
  #transactionsTakenAway = 0;

  constructor(source: BrokerMetricsSource) {
    this.registry = createProcessRegistry({
      get status() {
        return source.redis ? 'ready' : 'close';
      },
    });
    registerMetrics(this.registry, [...this.#counted(), ...lookedAt(source)]);
  }

  /** Totals since this process leads. */
  get totals(): Totals {
    const failed = this.#writes.get('failed');
    return {
      writes: this.#writes.get('committed') + failed,
      failed,
      batches: this.#batches,
      evicted: this.#evicted,
    };
  }

  /** Writes set aside since this process leads. */
  get deadLetters(): number {
    return this.#deadLetters;
  }

  /** A stage lasted `ms`. */
  observe(stage: Stage, ms: number): void {
    this.#stages.get(stage)!.observe(ms);
  }

  /** Jobs were fetched from the queue. */
  fetched(bytes: number): void {
    this.#jobBytes += bytes;
  }

  /** A batch was applied. @returns the writes that were tried, and those of them that failed. */
  applied({ jobs, stats, evicted }: AppliedOutcome): { readonly writes: number; readonly failures: number } {
    let writes = 0;
    let failures = 0;
    let duplicates = 0;
    let refused = 0;
    for (const job of jobs) {
      if (job.duplicate) duplicates++;
      else if (job.error !== undefined) refused++;
      else {
        writes += job.writes;
        failures += job.failures;
        if (job.failureCodes === undefined) continue;
        for (const code of job.failureCodes) this.#failures.add(code);
      }
    }
    this.#batches++;
    this.#evicted += evicted.length;
    this.#writes.add('committed', writes - failures);
    if (failures > 0) this.#writes.add('failed', failures);
    this.#jobs.add('applied', jobs.length - duplicates - refused);
    if (duplicates > 0) this.#jobs.add('duplicate', duplicates);
    if (refused > 0) this.#jobs.add('refused', refused);
    this.#commits += stats.commits;
    // An open file costs next to nothing.
    if (stats.openMs > 0.5) this.observe('open', stats.openMs);
    this.observe('apply', stats.applyMs);
    this.observe('commit', stats.commitMs);
    if (stats.flushMs !== undefined) this.observe('flush', stats.flushMs);
    this.commit.observe(stats.commitMs + (stats.flushMs ?? 0));
    if (stats.checkpointMs > 0) this.#checkpoints.observe(stats.checkpointMs);
    return { writes, failures };
  }

  refused(code: string): void {
    this.#refusals.add(code);
  }

  /** A transaction was rolled back because its client was too slow. */
  transactionTakenAway(): void {
    this.#transactionsTakenAway++;
  }

  setAside(writes: number): void {
    this.#deadLetters += writes;
  }

  #counted(): MetricSource[] {
    const counter = (name: string, help: string, read: () => number) =>
      singleMetric('counter', name, help, read);
    const histogram = (name: string, help: string, of: DurationHistogram): MetricSource => ({
      name,
      help,
      type: 'histogram',
      read: () => of.samples(name),
    });
    const stages = 'onewriter_write_stage_seconds';
    return [
      this.#writes,
      this.#jobs,
      this.#failures,
      this.#refusals,
      counter('onewriter_commits_total', 'Transactions committed.', () => this.#commits),
      counter('onewriter_batches_total', 'Batches applied: jobs of a tenant, together.', () => this.#batches),
      counter(
        'onewriter_tenants_evicted_total',
        'Tenants closed so that others could be opened.',
        () => this.#evicted,
      ),
      counter('onewriter_job_bytes_total', 'Data of the jobs fetched from the queues.', () => this.#jobBytes),
      counter(
        'onewriter_transactions_taken_away_total',
        'Interactive transactions rolled back because they were open for too long.',
        () => this.#transactionsTakenAway,
      ),
      counter('onewriter_dead_letters_total', 'Writes set aside.', () => this.#deadLetters),
      {
        name: stages,
        help: 'Duration of the stages of a write: queue of each job, the others of each batch by its oldest job.',
        type: 'histogram',
        read: () => STAGES.flatMap(stage => this.#stages.get(stage)!.samples(stages, { stage })),
      },
      histogram('onewriter_write_delay_seconds', 'From enqueue to commit, by job.', this.delay),
      histogram('onewriter_commit_seconds', 'COMMIT with its flush, by batch.', this.commit),
      histogram(
        'onewriter_checkpoint_seconds',
        'Checkpoints: writing the write-ahead log back to the database.',
        this.#checkpoints,
      ),
    ];
  }
}

/** Gauges; those of the status have no value on a standby. */
function lookedAt(source: BrokerMetricsSource): MetricSource[] {
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
    gauge('onewriter_parked_tenants', 'Tenants whose file refuses writes.', ({ parked }) => parked.total),
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
  ];
}

type Family = (
  name: string,
  help: string,
  read: (status: BrokerStatus) => readonly MetricSample[],
) => MetricSource;

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
