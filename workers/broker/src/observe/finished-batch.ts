import type { ApplyStats, JobOutcome } from '@onewriter/writer';
import type { FetchedJob } from '../queue/tenant-queue.ts';

/** A job on its way through this process. */
export interface FinishedJobTimes extends FetchedJob {
  /** When its client made it: ms since the epoch by the client's clock; undefined where its id does not contain it. */
  readonly enqueuedAt: number | undefined;
  readonly fetchedAt: number;
}

/** A batch that is committed and acknowledged to its callers. Times on the monotonic clock, in ms. */
export interface FinishedBatch {
  readonly tenant: string;
  readonly jobs: readonly FinishedJobTimes[];
  /** One per job, same order. */
  readonly outcomes: readonly JobOutcome[];
  readonly stats: ApplyStats;
  /** When it joined the line for its lane. */
  readonly queuedAt: number;
  /** When its turn came. */
  readonly begunAt: number;
  /** When the main thread knew its commit, and that it was flushed. */
  readonly committedAt: number;
  /** When its callers were answered: Redis had replied. */
  readonly finishedAt: number;
}

/** Called last, once per batch. */
export interface BatchObserver {
  observe(batch: FinishedBatch): void;
}

/** How long a batch was at each stage, in ms; the stages follow one another. */
export interface BatchStages {
  /** Fetched, but behind its predecessor. */
  readonly prefetchMs: number;
  /** In line for the lane's thread. */
  readonly laneMs: number;
  /** On the way to the thread and back. */
  readonly handoverMs: number;
  readonly openMs: number;
  readonly applyMs: number;
  readonly commitMs: number;
  /** Flush of the write-ahead log, where the commit did not flush it. */
  readonly flushMs: number;
  /** Answering the callers. */
  readonly completeMs: number;
}

/** The stages of a batch, from the time its oldest job was fetched. */
export function stagesOf({
  jobs,
  stats,
  queuedAt,
  begunAt,
  committedAt,
  finishedAt,
}: FinishedBatch): BatchStages {
  const { openMs, applyMs, commitMs, flushMs = 0 } = stats;
  return {
    prefetchMs: Math.max(queuedAt - (jobs[0]?.fetchedAt ?? queuedAt), 0),
    laneMs: begunAt - queuedAt,
    handoverMs: Math.max(committedAt - begunAt - openMs - applyMs - commitMs - flushMs, 0),
    openMs,
    applyMs,
    commitMs,
    flushMs,
    completeMs: finishedAt - committedAt,
  };
}
