import type { ApplyStats, JobOutcome } from '@onewriter/writer';
import type { TakenJob } from '../queue/tenant-queue.ts';

/** A job on its way through this process. */
export interface FinishedJobTimes extends TakenJob {
  /** When its client made it: ms since the epoch by the client's clock; undefined where its id does not tell. */
  readonly enqueuedAt: number | undefined;
  readonly takenAt: number;
}

/** A batch that is committed and told to its callers. Times on the monotonic clock, in ms. */
export interface FinishedBatch {
  readonly tenant: string;
  readonly jobs: readonly FinishedJobTimes[];
  /** One per job, same order. */
  readonly outcomes: readonly JobOutcome[];
  readonly stats: ApplyStats;
  /** It got in line for its lane. */
  readonly queuedAt: number;
  /** Its turn came. */
  readonly begunAt: number;
  /** Its commit was known, and flushed, here. */
  readonly committedAt: number;
  /** The callers were told: Redis had answered. */
  readonly finishedAt: number;
}

/** Told of each batch, after everything else. */
export interface BatchObserver {
  observe(batch: FinishedBatch): void;
}

/** How long a batch was at each stage, in ms; the stages follow one another. */
export interface BatchStages {
  /** Here, but behind its predecessor. */
  readonly prefetchMs: number;
  /** In line for the lane's thread. */
  readonly laneMs: number;
  /** On the way to the thread and back. */
  readonly handoverMs: number;
  readonly openMs: number;
  readonly applyMs: number;
  readonly commitMs: number;
  /** Of the write-ahead log, where the commit did not flush it. */
  readonly flushMs: number;
  /** Told to the callers. */
  readonly completeMs: number;
}

/** The stages of a batch, from when `takenAt`, its oldest job came here. */
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
    prefetchMs: Math.max(queuedAt - (jobs[0]?.takenAt ?? queuedAt), 0),
    laneMs: begunAt - queuedAt,
    handoverMs: Math.max(committedAt - begunAt - openMs - applyMs - commitMs - flushMs, 0),
    openMs,
    applyMs,
    commitMs,
    flushMs,
    completeMs: finishedAt - committedAt,
  };
}
