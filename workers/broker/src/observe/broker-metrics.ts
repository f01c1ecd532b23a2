import {
  DurationHistogram,
  LabelledCounter,
  type MetricSource,
  registerMetrics,
  singleMetric,
} from '@onewriter/protocol';
import { createProcessRegistry } from '@onewriter/runtime';
import type { AppliedOutcome } from '@onewriter/writer';
import type { Registry } from 'prom-client';
import type { WakeOutcome } from '../tenant/waker.ts';
import type { Totals } from './status/rate-window.ts';
import { type BrokerMetricsSource, sampledMetrics } from './status-metrics.ts';

/*
 * The counters of a broker. The hot path adds to plain numbers, per batch and per job, never per write; they are converted to
 * Prometheus' form on request. What is sampled instead of counted is in status-metrics.ts.
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
  readonly #wakes = new LabelledCounter(
    'onewriter_wakes_total',
    'Files of hibernated tenants that were fetched, by outcome; one is stopped where others work on its tenant.',
    'outcome',
    ['woken', 'failed', 'stopped'],
  );
  readonly #wake = new DurationHistogram();
  #commits = 0;
  #batches = 0;
  #reads = 0;
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
    registerMetrics(this.registry, [...this.#counted(), ...sampledMetrics(source)]);
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
    let reads = 0;
    for (const job of jobs) {
      if (job.duplicate) duplicates++;
      else if (job.error !== undefined) refused++;
      else {
        writes += job.writes;
        reads += job.reads ?? 0;
        failures += job.failures;
        if (job.failureCodes === undefined) continue;
        for (const code of job.failureCodes) this.#failures.add(code);
      }
    }
    this.#batches++;
    this.#evicted += evicted.length;
    this.#reads += reads;
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

  /** The file of a hibernated tenant came, or did not. */
  wakeEnded(outcome: WakeOutcome, ms: number): void {
    this.#wakes.add(outcome);
    if (outcome === 'woken') this.#wake.observe(ms);
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
      this.#wakes,
      counter(
        'onewriter_owner_reads_total',
        'Reads run for processes that cannot open the files.',
        () => this.#reads,
      ),
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
      histogram(
        'onewriter_wake_seconds',
        'From the need of a hibernated tenant to its file, of those that came.',
        this.#wake,
      ),
      histogram('onewriter_commit_seconds', 'COMMIT with its flush, by batch.', this.commit),
      histogram(
        'onewriter_checkpoint_seconds',
        'Checkpoints: writing the write-ahead log back to the database.',
        this.#checkpoints,
      ),
    ];
  }
}
