import { parseWriteJob, unknownVersionOf, type WriteJobMessage } from '@onewriter/protocol';
import { costOfJob, type Grant } from '../../lanes/job-memory.ts';
import type { ActiveJob, FetchedJob } from '../../queue/tenant-queue.ts';

/** A job that this broker has. */
export interface HeldJob extends ActiveJob {
  /** Rises with each job that is held. */
  readonly place: number;
  /** By the client's clock, ms; undefined where the job's id does not contain it. */
  readonly enqueuedAt: number | undefined;
  /** On the monotonic clock, ms. */
  readonly fetchedAt: number;
  /** How often a process or thread ended while the job ran, as far as known; 0 for a job that waited in the queue. */
  readonly crashCount: number;
  /** It may be in the ledger: a dead leader had it, or its batch ended with an unknown outcome. */
  readonly doubtful: boolean;
  /** Undefined while it is in Redis only. */
  readonly data: string | undefined;
  /** The memory of `data`, and its grant; undefined if `data` is. */
  readonly memory: { readonly grant: Grant; readonly cost: number } | undefined;
  /** Set where the job is of a version that this broker does not know; undefined until its data was seen. */
  readonly unknownVersion: number | undefined;
  /** Facts that were read from `data` before it was unloaded. */
  readonly seen?: SeenFacts | undefined;
  /** When its client was last seen, where it was looked for; on the monotonic clock, ms. */
  readonly clientSeenAt?: number | undefined;
}

/** A {@link HeldJob} whose data is here. */
export type LoadedJob = HeldJob & { readonly data: string };

/** A job that arrived and is not held yet. */
export type NewJob = Omit<HeldJob, 'place' | 'enqueuedAt' | 'fetchedAt'>;

/** The facts that failing a job needs. */
export interface SeenFacts {
  readonly client: string;
  readonly hasUnawaitedWrite: boolean;
}

/** Jobs that were active before: their data is in Redis, and any of them may be applied. */
export function toActiveJobs(jobs: readonly ActiveJob[], crashCounts: readonly number[]): readonly NewJob[] {
  const unread = { data: undefined, memory: undefined, unknownVersion: undefined, doubtful: true };
  return jobs.map((job, index) => ({ ...job, ...unread, crashCount: crashCounts[index] ?? 0 }));
}

/**
 * Jobs that waited in the queue.
 * @param grant the memory that they share
 * @param doubtUntil those that were added by then may be applied
 * @returns also the bytes of their data, and what they cost of the grant
 */
export function toFetchedJobs(
  jobs: readonly FetchedJob[],
  grant: Grant,
  doubtUntil: number,
): { readonly jobs: readonly NewJob[]; readonly bytes: number; readonly cost: number } {
  let bytes = 0;
  let total = 0;
  const fetched = jobs.map(({ id, data, addedAt }): NewJob => {
    const size = Buffer.byteLength(data);
    const cost = costOfJob(data, size);
    bytes += data.length;
    total += cost;
    // One without a time may be older.
    const doubtful = doubtUntil > 0 && (addedAt ?? 0) <= doubtUntil;
    return {
      ...{ id, data, addedAt, doubtful, crashCount: 0 },
      bytes: size,
      memory: { grant, cost },
      unknownVersion: unknownVersionOf(data),
    };
  });
  return { jobs: fetched, bytes, cost: total };
}

/** When the newest job that may be applied was added: one of these, or one that was requeued before. See Reclaimed. */
export function doubtUntil(jobs: readonly HeldJob[], before: number): number {
  const times = jobs.filter(({ doubtful }) => doubtful).map(job => job.addedAt ?? Number.POSITIVE_INFINITY);
  return Math.max(before, ...times);
}

export function isLoaded(job: HeldJob): job is LoadedJob {
  return job.data !== undefined;
}

/** Frees the memory of its data. */
export function freeMemory({ memory }: HeldJob): void {
  memory?.grant.release(memory.cost);
}

/** The job without its data, whose memory the caller frees. */
export function unloaded(job: HeldJob): HeldJob {
  if (!isLoaded(job)) return job;
  const seen = job.seen ?? (job.doubtful ? undefined : readFacts(job.data));
  return { ...job, seen, data: undefined, memory: undefined };
}

/** A job that was active when a process ended stays: requeued, it would lose its crash count and its doubt. */
export function mayWaitInQueue({ crashCount, doubtful }: HeldJob): boolean {
  return crashCount === 0 && !doubtful;
}

/** Whether no caller waits for one of the job's writes: then the job stays until the tenant can be written. */
export function hasUnawaitedWrite({ data, seen }: HeldJob): boolean {
  return data === undefined ? (seen?.hasUnawaitedWrite ?? true) : hasUnawaitedWriteIn(data);
}

/** The client that sent it; '' where that is not known, and no client can be answered. */
export function clientOf({ data, seen }: HeldJob): string {
  return data === undefined ? (seen?.client ?? '') : clientIn(data);
}

function readFacts(data: string): SeenFacts {
  return { client: clientIn(data), hasUnawaitedWrite: hasUnawaitedWriteIn(data) };
}

function hasUnawaitedWriteIn(data: string): boolean {
  if (!data.includes('"d":1')) return false;
  try {
    return parseWriteJob(data).ops.some(operation => operation?.d === 1);
  } catch {
    return false;
  }
}

function clientIn(data: string): string {
  try {
    return String((JSON.parse(data) as WriteJobMessage).client);
  } catch {
    return '';
  }
}
