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
}
