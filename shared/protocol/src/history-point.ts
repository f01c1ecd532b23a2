import type { WriteKind } from './write-summary.ts';

/** Commits of a tenant that it can be restored to, from one point to the next: as `onewriter history --json` and `/v1` say it. */
export interface HistoryPoint {
  /** Positions in the replica. */
  readonly fromPos: number;
  readonly toPos: number;
  /** Numbers of commits. */
  readonly fromSeq: number;
  readonly toSeq: number;
  /** When they were committed, ms since the epoch. */
  readonly fromMs: number;
  readonly toMs: number;
  /** As stored. */
  readonly bytes: number;
  /** Each commit in it is addressable; otherwise only its end. */
  readonly each: boolean;
  /** Pages that changed, the whole file, a branch that begins, the tenant's deletion. */
  readonly kind: 'pages' | 'full' | 'base' | 'deleted';
  /** Who wrote it, and how; undefined where that is not known: of a file that was read whole, or of commits of another program. */
  readonly written?: WrittenBy | undefined;
}

/** Who wrote the commits of a point, and with what statements. */
export interface WrittenBy {
  readonly writes: number;
  readonly kinds: readonly WriteKind[];
  /** Those with the most writes: ids of clients, or `token <id>`. The rest of `writes` are of others. */
  readonly by: readonly { readonly who: string; readonly writes: number }[];
}
