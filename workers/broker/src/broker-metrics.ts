import type { AppliedOutcome } from '@onewriter/writer';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What the gauges show, read when they are asked for. */
export interface BrokerFacts {
  readonly leading: boolean;
  readonly epoch: number;
  readonly sessions: number;
  readonly lanes: number;
  readonly busyLanes: number;
  readonly waitingTenants: number;
  readonly parkedTenants: number;
  /** Tenants whose write-ahead log a reader keeps from being begun anew, and the largest of those logs. */
  readonly heldWals: number;
  readonly largestHeldWalBytes: number;
}

/** Milliseconds in, seconds out: from a commit on a fast disk to the watchdog's limit. */
const BUCKETS_SECONDS = [
  0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Counts and measures what a broker does; names after the Prometheus conventions. */
export class BrokerMetrics {
  readonly registry = new Registry();
  readonly #writes: Counter<'result'>;
  readonly #jobs: Counter<'result'>;
  readonly #commits: Counter;
  readonly #refusals: Counter<'code'>;
  readonly #deadLetters: Counter;
  readonly #commitSeconds: Histogram;
  readonly #applySeconds: Histogram;
  readonly #heldSeconds: Histogram;

  constructor(facts: () => BrokerFacts) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#writes = new Counter({
      name: 'onewriter_writes_total',
      help: 'Writes by result.',
      labelNames: ['result'],
      registers,
    });
    this.#jobs = new Counter({
      name: 'onewriter_jobs_total',
      help: 'Jobs by result; a duplicate was applied before and is answered from the ledger.',
      labelNames: ['result'],
      registers,
    });
    this.#commits = new Counter({
      name: 'onewriter_commits_total',
      help: 'Transactions committed.',
      registers,
    });
    this.#refusals = new Counter({
      name: 'onewriter_refused_batches_total',
      help: 'Batches that a tenant file refused, by error code.',
      labelNames: ['code'],
      registers,
    });
    this.#deadLetters = new Counter({
      name: 'onewriter_dead_letters_total',
      help: 'Writes set aside.',
      registers,
    });
    this.#commitSeconds = new Histogram({
      name: 'onewriter_commit_seconds',
      help: 'Duration of the COMMITs of a batch, with their flush.',
      buckets: BUCKETS_SECONDS,
      registers,
    });
    this.#applySeconds = new Histogram({
      name: 'onewriter_apply_seconds',
      help: 'Duration of the statements of a batch, without COMMIT.',
      buckets: BUCKETS_SECONDS,
      registers,
    });
    this.#heldSeconds = new Histogram({
      name: 'onewriter_job_held_seconds',
      help: 'From taking a job off the queue to its completion in Redis.',
      buckets: BUCKETS_SECONDS,
      registers,
    });
    const gauge = (name: string, help: string, read: (facts: BrokerFacts) => number) => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read(facts()));
        },
      });
    };
    gauge('onewriter_leading', 'Whether this broker leads.', ({ leading }) => Number(leading));
    gauge('onewriter_epoch', 'The epoch this broker leads with.', ({ epoch }) => epoch);
    gauge('onewriter_sessions', 'Tenants with work lately.', ({ sessions }) => sessions);
    gauge('onewriter_lanes', 'Writer threads.', ({ lanes }) => lanes);
    gauge('onewriter_busy_lanes', 'Writer threads at work.', ({ busyLanes }) => busyLanes);
    gauge(
      'onewriter_waiting_tenants',
      'Tenants that wait for a thread.',
      ({ waitingTenants }) => waitingTenants,
    );
    gauge(
      'onewriter_wal_held_tenants',
      'Tenants whose write-ahead log grows because a reader does not end its transaction.',
      ({ heldWals }) => heldWals,
    );
    gauge(
      'onewriter_wal_held_largest_bytes',
      'Size of the largest of those logs.',
      ({ largestHeldWalBytes }) => largestHeldWalBytes,
    );
    gauge(
      'onewriter_parked_tenants',
      'Tenants whose file refuses writes.',
      ({ parkedTenants }) => parkedTenants,
    );
  }

  /** A batch was applied. */
  applied({ jobs, stats }: AppliedOutcome): void {
    let writes = 0;
    let failures = 0;
    let duplicates = 0;
    for (const job of jobs) {
      if (job.duplicate) duplicates++;
      else {
        writes += job.writes;
        failures += job.failures;
      }
    }
    this.#writes.inc({ result: 'committed' }, writes - failures);
    if (failures > 0) this.#writes.inc({ result: 'failed' }, failures);
    this.#jobs.inc({ result: 'applied' }, jobs.length - duplicates);
    if (duplicates > 0) this.#jobs.inc({ result: 'duplicate' }, duplicates);
    this.#commits.inc(stats.commits);
    this.#commitSeconds.observe(stats.commitMs / 1_000);
    this.#applySeconds.observe(stats.applyMs / 1_000);
  }

  /** Jobs left the queue. */
  finished(jobs: readonly { readonly takenAt: number }[]): void {
    const now = performance.now();
    for (const { takenAt } of jobs) this.#heldSeconds.observe((now - takenAt) / 1_000);
  }

  refused(code: string): void {
    this.#refusals.inc({ code });
  }

  setAside(writes: number): void {
    this.#deadLetters.inc(writes);
  }
}
