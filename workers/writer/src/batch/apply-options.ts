import type { OwnerReads } from '../reads/owner-reads.ts';
import type { ReadAllowance, TransactionGrant } from '../thread/lane-task.ts';
import type { Progress } from '../thread/progress.ts';

/** The circumstances of a batch. */
export interface ApplyBatchOptions {
  readonly progress: Progress;
  /** Runs jobs of reads. Default: one for this batch. */
  readonly reads?: OwnerReads | undefined;
  /** The time of its reads. */
  readonly allowance?: ReadAllowance | undefined;
  /** The data directory's identities, in short: a job with another is refused. */
  readonly dirs?: ReadonlySet<string> | undefined;
  /** Set if the batch is one job of steps that run alone; a transaction that they leave open gets this name. */
  readonly transaction?: TransactionGrant | undefined;
  /** Too many transactions are open in this thread to open another. */
  readonly full?: boolean | undefined;
  /** The broker's clock, ms. */
  readonly now?: (() => number) | undefined;
  /** Called after each COMMIT; its errors reach the caller unchanged, as if the process had died there. */
  readonly afterCommit?: (() => void) | undefined;
}
