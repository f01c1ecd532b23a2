import type { WireError } from '@onewriter/protocol';
import type { Verification } from '../backup/manifest.ts';

/** What a process of jobs does with each tenant. */
export type JobKind =
  | { readonly kind: 'backup'; readonly out: string; readonly verification: Verification }
  | { readonly kind: 'check'; readonly verification: Verification; readonly withRedis: boolean };

/** Argument of a process of jobs, as JSON. */
export interface JobSettings {
  /** As the command line names it. */
  readonly dataDir: string | undefined;
  readonly job: JobKind;
}

/** To the process: one tenant. They are done one after the other, and answered in that order. */
export interface JobRequest {
  readonly tenant: string;
}

/** From the process. */
export type JobAnswer =
  | { readonly tenant: string; readonly result: unknown }
  | { readonly tenant: string; readonly error: WireError };
