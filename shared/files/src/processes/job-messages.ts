import type { WireError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { Verification } from '../backup/manifest.ts';
import type { DataPlace } from '../data-place.ts';
import type { DiffOptions } from '../diff/diff-databases.ts';
import type { LoadJob } from '../load/stage-load.ts';
import type { PlainJournalMode } from '../release/make-plain.ts';
import type { NumberJob } from '../restore/file-numbers.ts';
import type { PlanSplitJob, SplitJob, SplitTask } from '../split/split-messages.ts';

/** What a process of jobs does with each tenant. */
export type JobKind =
  | { readonly kind: 'backup'; readonly out: string; readonly verification: Verification }
  | { readonly kind: 'check'; readonly verification: Verification }
  /** The first half of a restore: copies a backup to `draft`, and checks the copy. */
  | { readonly kind: 'stage'; readonly backup: string; readonly draft: string }
  /** The first half of an import: makes a file out of a dump or a database, and checks it. */
  | LoadJob
  /** The second half of both: numbers that file on. */
  | NumberJob
  /** Compares the tenant's file with one that it had formerly. */
  | {
      readonly kind: 'diff';
      readonly former: string;
      readonly tables?: DiffOptions['tables'];
      readonly kinds?: DiffOptions['kinds'];
      readonly maxRows: number;
    }
  /** Looks at a file that is no tenant's yet: each request names it. */
  | { readonly kind: 'look' }
  /** Makes such a file a tenant's. */
  | { readonly kind: 'adopt'; readonly root: string; readonly who: string }
  /** Gives a tenant's file back, to the place that the request names, else in its own. */
  | {
      readonly kind: 'release';
      readonly journalMode: PlainJournalMode;
      readonly retentionMs: number;
      readonly who: string;
    }
  /** Looks at a file with many tenants. */
  | PlanSplitJob
  /** Makes a tenant out of its rows there: each request says which. */
  | SplitJob
  | CallJob;

/** Work of a package that this one may not import: the process calls what a module exports. */
export interface CallJob {
  readonly kind: 'call';
  /** URL of the module. */
  readonly module: string;
  /** Of the exported {@link JobFunction}. */
  readonly name: string;
  /** What it gets, besides the tenant. */
  readonly args: unknown;
  /** A file that it makes, and that is removed if the parent ends before it. */
  readonly draft?: string | undefined;
}

/** What a {@link CallJob} calls. Its result is copied to the parent. */
export type JobFunction = (context: JobContext, args: never) => unknown;

export interface JobContext {
  readonly place: DataPlace;
  readonly tenant: string;
  /** The Redis that the parent named. */
  readonly redis: Redis | undefined;
  readonly onProgress: (progress: number) => void;
}

/** Argument of a process of jobs, as JSON. It holds no secret: other users can see it. */
export interface JobSettings {
  readonly place: DataPlace;
  readonly job: JobKind;
}

/** Name of the variable with the URL of the Redis that a job asks. */
export const JOB_REDIS_URL = 'ONEWRITER_REDIS_URL';

/** To the process: one tenant. They are done one after the other, and answered in that order. */
export interface JobRequest {
  readonly tenant: string;
  /** Absolute path of a file outside the tenants' folders. */
  readonly file?: string | undefined;
  /** What is to be taken out of the file that the job splits. */
  readonly task?: SplitTask | undefined;
}

/** From the process, while it works on a tenant. */
export interface JobProgress {
  readonly tenant: string;
  /** How far it is; its job says in what. */
  readonly progress: number;
}

/** From the process, once for each tenant. */
export type JobAnswer =
  | { readonly tenant: string; readonly result: unknown }
  | { readonly tenant: string; readonly error: WireError };
