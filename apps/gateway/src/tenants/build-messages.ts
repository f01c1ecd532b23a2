import type { WireError } from '@onewriter/protocol';

/** What the building process is told, once, over IPC: a script does not fit into its arguments. */
export interface BuildTask {
  readonly tenant: string;
  /** Of the file that it makes. */
  readonly path: string;
  readonly script: string;
}

/** What it answers, once. */
export type BuildAnswer = { readonly done: true } | { readonly error: WireError };
