import {
  DurationHistogram,
  isOnewriterError,
  LabelledCounter,
  type MetricRegistry,
  type MetricSource,
  registerMetrics,
  singleMetric,
} from '@onewriter/protocol';
import type { ClientStats } from './types.ts';

/*
 * What a client counts: one addition per write and read, some per job. A clock is read per job, and for one read in
 * sixteen; the numbers are put into Prometheus' form when they are asked for.
 */

/**
 * The stages of a write in the client; those in between are the broker's.
 *
 *   coalesce  issued → its job is made, by the oldest write of the job
 *   enqueue   → the queue has the job
 *   settle    the completion event is in the client's inbox → its callers have their answers
 *   total     issued → the last caller of the job has its answer
 */
const CLIENT_STAGES = ['coalesce', 'enqueue', 'settle', 'total'] as const;

/** One of {@link CLIENT_STAGES}. */
export type ClientStage = (typeof CLIENT_STAGES)[number];

/** One read of this many is timed. */
const READS_PER_SAMPLE = 16;

/** Counts what a client does. */
export class ClientMetrics {
  /** Writes whose callers have their answer, and it is not an error. */
  answered = 0;
  jobs = 0;
  jobBytes = 0;
  reads = 0;
  readonly #errors = new LabelledCounter(
    'onewriter_client_errors_total',
    'Reads and writes that ended with an error, by its code.',
    'code',
    ['OUTCOME_UNKNOWN', 'QUEUE_UNAVAILABLE', 'TENANT_OVERLOADED', 'BUFFER_FULL'],
  );
  readonly #stages = new Map<ClientStage, DurationHistogram>(
    CLIENT_STAGES.map(stage => [stage, new DurationHistogram()]),
  );
  readonly #readTimes = new DurationHistogram();

  /** Something took `ms` in a stage. */
  observe(stage: ClientStage, ms: number): void {
    this.#stages.get(stage)!.observe(ms);
  }

  /** A read or write ended with an error. */
  failed(error: unknown): void {
    // A programming mistake, for example, has no Onewriter code.
    this.#errors.add(isOnewriterError(error) ? error.code : 'other');
  }

  /** Counts a read. @returns whether it is to be timed. */
  beginRead(): boolean {
    return this.reads++ % READS_PER_SAMPLE === 0;
  }

  /** A read that was to be timed took `ms`. */
  timedRead(ms: number): void {
    this.#readTimes.observe(ms);
  }

  /** Adds all of it to a registry of prom-client. */
  register(registry: MetricRegistry, stats: () => ClientStats): void {
    registerMetrics(registry, [...this.#counted(), ...held(stats)]);
  }

  #counted(): MetricSource[] {
    const counter = (name: string, help: string, read: () => number) =>
      singleMetric('counter', `onewriter_client_${name}_total`, help, read);
    const stages = 'onewriter_client_write_stage_seconds';
    const reads = 'onewriter_client_read_seconds';
    return [
      counter('writes', 'Writes that were answered without an error.', () => this.answered),
      counter('jobs', 'Jobs sent: writes that travel together.', () => this.jobs),
      counter('job_bytes', 'Data of these jobs.', () => this.jobBytes),
      counter('reads', 'Reads, those that failed included.', () => this.reads),
      this.#errors,
      {
        name: stages,
        help: 'Duration of the stages of a write in the client, by job.',
        type: 'histogram',
        read: () => CLIENT_STAGES.flatMap(stage => this.#stages.get(stage)!.samples(stages, { stage })),
      },
      {
        name: reads,
        help: `Duration of reads; one in ${READS_PER_SAMPLE} is timed.`,
        type: 'histogram',
        read: () => this.#readTimes.samples(reads),
      },
    ];
  }
}

function held(stats: () => ClientStats): MetricSource[] {
  const gauge = (name: string, help: string, read: (stats: ClientStats) => number) =>
    singleMetric('gauge', `onewriter_client_${name}`, help, () => read(stats()));
  return [
    gauge('buffered_writes', 'Writes that were not sent yet.', it => it.bufferedWrites),
    gauge('outstanding_writes', 'Writes that were sent and not answered yet.', it => it.outstandingWrites),
    gauge('held_bytes', 'Encoded size of all these writes.', it => it.heldBytes),
    gauge('open_readers', 'Tenant files that are open for reading.', it => it.openReaders),
  ];
}
