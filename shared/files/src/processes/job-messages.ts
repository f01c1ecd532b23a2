import type { WireError } from '@onewriter/protocol';
import type { Verification } from '../backup/manifest.ts';
import type { DataPlace } from '../data-place.ts';
import type { NumberJob } from '../restore/file-numbers.ts';

/** What a process of jobs does with each tenant. */
export type JobKind =
  | { readonly kind: 'backup'; readonly out: string; readonly verification: Verification }
  | { readonly kind: 'check'; readonly verification: Verification }
  /** The first half of a restore: copies a backup to `draft`, and checks the copy. */
  | { readonly kind: 'stage'; readonly backup: string; readonly draft: string }
  /** The second: numbers that copy on. */
  | NumberJob;

/** Argument of a process of jobs, as JSON. It holds no secret: other users can see it. */
export interface JobSettings {
  readonly place: DataPlace;
  readonly job: JobKind;
}

/** Name of the variable with the URL of the Redis that a check asks. */
export const JOB_REDIS_URL = 'ONEWRITER_REDIS_URL';

/** To the process: one tenant. They are done one after the other, and answered in that order. */
export interface JobRequest {
  readonly tenant: string;
}

/** From the process. */
export type JobAnswer =
  | { readonly tenant: string; readonly result: unknown }
  | { readonly tenant: string; readonly error: WireError };
