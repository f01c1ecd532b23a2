import type { WireError } from '@onewriter/protocol';

/** Sent to the building process, once, over IPC: a script does not fit into its arguments. */
export interface BuildTask {
  readonly tenant: string;
  /** Path of the file that it makes. */
  readonly path: string;
  readonly script: string;
}

/** What it answers, once. */
export type BuildAnswer = { readonly done: true } | { readonly error: WireError };
