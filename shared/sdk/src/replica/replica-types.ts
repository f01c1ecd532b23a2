import type { HistoryPoint } from '@onewriter/protocol';
import type { WaitOptions } from '../wait-options.ts';

export type { HistoryPoint };

export interface HistoryOptions extends WaitOptions {
  /** Points at most, up to 1,000. Default: 50. */
  readonly limit?: number | undefined;
}

export interface BranchOptions extends WaitOptions {
  /** Name of the new tenant. */
  readonly as: string;
  /** The number of a commit, a time, `'5 minutes ago'` or `'newest'`, which is the default. */
  readonly at?: number | string | Date | undefined;
}

/** The tenant that a branch made. */
export interface Branch {
  readonly tenant: string;
  /** The commit of its parent that it began as, and when that was committed, ms since the epoch. */
  readonly pointCommitSeq: number;
  readonly atMs: number;
  /** Its newest commit. */
  readonly commitSeq: number;
  /** Null where nothing was copied: its file comes with its first use. */
  readonly rows: number | null;
  readonly tables: number | null;
}

/** What the replica knows of a tenant; through the gateway, whose token needs the right `admin:tenants`. */
export interface TenantReplica {
  /**
   * The points that it can be restored to, the newest first.
   * @throws OnewriterError MISCONFIGURED where the client has no gateway; REPLICA_UNAVAILABLE where that has no replica; TENANT_NOT_FOUND
   */
  history(options?: HistoryOptions): Promise<readonly HistoryPoint[]>;
  /**
   * Makes a new tenant of this one as it is, or was, and waits until it is there (`timeoutMs`; default: ten minutes).
   * @throws OnewriterError as {@link TenantReplica.history}; POSITION_UNKNOWN with the points near `at`; TENANT_BUSY (`as` exists);
   * TIMEOUT, ABORTED, CLOSED: the work continues, `details.operation` names it
   */
  branch(options: BranchOptions): Promise<Branch>;
}
