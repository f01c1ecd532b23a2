import type { OneShotAnswer } from '@onewriter/runtime';

/** Sent to the building process, once, over IPC: a script does not fit into its arguments. */
export interface BuildTask {
  readonly tenant: string;
  /** Path of the file that it makes. */
  readonly path: string;
  readonly script: string;
}

/** The file is whole. */
export interface BuildDone {
  readonly done: true;
}

/** What it answers, once. */
export type BuildAnswer = OneShotAnswer<BuildDone>;
