import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type {
  JobCounts,
  JobState,
  JobStatus,
  QueueJob,
  QueueJobJson,
  Status,
} from '@bull-board/api/typings/app';
import { OnewriterError } from '@onewriter/protocol';
import { type Letter, toLetter } from '@onewriter/runtime/dead-letters';
import type { Job, Queue } from 'bullmq';
import type { LetterActions } from '../tenants/letter-actions.ts';
import { abbreviate, toReadableJob } from './readable-job.ts';

/**
 * Dead letters on the board. They wait in a queue without a worker. The board shows them as failed
 * writes: with their error as the reason, and with Bull Board's own buttons for "retry" (which sends the
 * write to its tenant's queue again, as `onewriter dead-letters retry` does) and "clean".
 */
export class DeadLetterAdapter extends BullMQAdapter {
  readonly #queue: Queue;
  readonly #actions: LetterActions;

  constructor(queue: Queue, actions: LetterActions) {
    super(queue, {
      displayName: 'Dead letters',
      description:
        'Writes that failed without a waiting caller, or were set aside. Retry sends the write again; clean drops it.',
    });
    this.#queue = queue;
    this.#actions = actions;
  }

  override getStatuses(): Status[] {
    return ['failed'];
  }

  override getJobStatuses(): JobStatus[] {
    return ['failed'];
  }

  override async getJobCounts(): Promise<JobCounts> {
    const { waiting } = await this.#queue.getJobCounts('waiting');
    return { failed: waiting ?? 0 } as JobCounts;
  }

  override async getJobs(_statuses: JobStatus[], start?: number, end?: number): Promise<Job[]> {
    const jobs = await this.#queue.getJobs(['waiting'], start, end);
    return jobs.filter(job => job !== undefined && job !== null).map(job => this.#show(job));
  }

  override async getJob(id: string): Promise<Job | undefined> {
    const job = await this.#queue.getJob(id);
    return job === undefined ? undefined : this.#show(job);
  }

  /** "Clean all": those that are older than the person could have seen. */
  override async clean(_status: string, graceTimeMs: number): Promise<void> {
    const before = Date.now() - graceTimeMs;
    for (const id of await this.#queue.getRanges(['waiting'], 0, -1, true)) {
      const job = await this.#queue.getJob(id);
      if (job !== undefined && job.timestamp <= before)
        await this.#actions.drop(toLetter(id, job.timestamp, job.data));
    }
  }

  /** Sends all again, the oldest first: their tenants get them in the order they were set aside. */
  async retryAll(): Promise<{ readonly retried: number; readonly skipped: number }> {
    let retried = 0;
    let skipped = 0;
    // The ids are read first: a write that fails again is a new letter, and must not be sent in a loop.
    for (const id of await this.#queue.getRanges(['waiting'], 0, -1, true)) {
      const job = await this.#queue.getJob(id);
      if (job === undefined) continue;
      try {
        await this.#actions.retry(toLetter(id, job.timestamp, job.data));
        retried++;
      } catch (error) {
        // One that is malformed does not keep the others from it; a Redis that is gone does.
        if (!(error instanceof OnewriterError) || error.code === 'QUEUE_UNAVAILABLE') throw error;
        skipped++;
      }
    }
    return { retried, skipped };
  }

  #show(job: Job): Job {
    const json: QueueJobJson = job.toJSON();
    const letter = toLetter(String(json.id), json.timestamp, json.data);
    const { content } = letter;
    const shown: QueueJobJson = {
      ...json,
      processedOn: json.timestamp,
      finishedOn: json.timestamp,
      failedReason:
        content === undefined
          ? 'This letter cannot be read'
          : `${content.error.code}: ${content.error.message}`,
      data: content === undefined ? abbreviate(json.data) : describe(letter),
    };
    const failed: QueueJob = {
      opts: { delay: undefined },
      toJSON: () => shown,
      getState: async (): Promise<JobState> => 'failed',
      retry: () => this.#actions.retry(letter),
      remove: () => this.#actions.drop(letter),
      promote: async () => {
        throw new OnewriterError('FORBIDDEN', 'A dead letter is retried or dropped.');
      },
    };
    // The board uses what its own interface has; the base class promises BullMQ's.
    return failed as unknown as Job;
  }
}

function describe({ content }: Letter): unknown {
  const { tenant, receiptId, error, sql, message } = content!;
  const write = message === undefined ? undefined : toReadableJob(tenant, message);
  return { tenant, receiptId, error, sql: abbreviate(sql), write };
}
