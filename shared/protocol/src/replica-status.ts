/* What the leader publishes about the replica: `replica` of its status. Times are ms since the epoch. */

/** Tenants in {@link StatusReplica.worst}: fewer mean that all others are stored, without a gap. */
export const MAX_WORST_TENANTS = 50;

/** The replica of the group. */
export interface StatusReplica {
  /** The first is the one that counts; the others are copies. */
  readonly stores: readonly StatusReplicaStore[];
  /** Whether callers may wait for it. */
  readonly available: boolean;
  /** Number of starts of a replicator; a higher one fences those before. */
  readonly term: number;
  /** Number of the newest pack. */
  readonly packs: number;
  /** Tenants that it has. */
  readonly tenants: number;
  /** Of the tenant that is most behind: age of its oldest commit that is not stored. */
  readonly lagMs: number;
  /** Captured and not stored, of all tenants. */
  readonly lagBytes: number;
  /** Bound of `lagBytes`: ONEWRITER_REPLICA_BUFFER_BYTES. Beyond it histories get gaps. */
  readonly bufferBytes: number;
  /** Times a history was broken, since this broker leads. */
  readonly gaps: number;
  /** Callers' jobs that wait for it. */
  readonly waitingJobs: number;
  /** Those that are most behind, and those with gaps; at most {@link MAX_WORST_TENANTS}. */
  readonly worst: readonly StatusReplicaTenant[];
  /** What the store changed since it was stored, since this broker leads, and tenants that were stored again for it; at most 20. */
  readonly damaged?: { readonly found: number; readonly tenants: readonly string[] } | undefined;
  /** What could not be done and is tried again, the newest first; tenant '' where it is about all. At most 20. */
  readonly failures?: readonly StatusReplicaFailure[] | undefined;
  /** Absent where they are switched off, and in the status of older brokers. */
  readonly rehearsals?: StatusRehearsals | undefined;
}

/** A store of the replica. */
export interface StatusReplicaStore {
  /** Without secrets. */
  readonly address: string;
  readonly ok: boolean;
  readonly failingSince?: number | undefined;
  readonly error?: string | undefined;
  /** Of a further store. Absent for the first. */
  readonly copy?: StatusReplicaCopy | undefined;
  /** Since this broker leads. */
  readonly requests: Readonly<Record<'get' | 'put' | 'delete' | 'list', number>>;
  readonly bytesOut: number;
  readonly bytesIn: number;
}

/** How far a further store is behind the first. */
export interface StatusReplicaCopy {
  /** Packs that it lacks; null: it could not be looked at yet. */
  readonly behindPacks: number | null;
  /** It lacks nothing that is older than this, counted from the start of the replicator where it lacks more. */
  readonly behindMs: number;
  /** Why the last attempt failed; absent: it did not. */
  readonly error?: string | undefined;
}

/** How far a tenant is replicated. */
export interface StatusReplicaTenant {
  readonly tenant: string;
  /** The newest commit that is stored, and when it was made. */
  readonly commitSeq: number;
  readonly commitAt: number;
  /** Captured and not stored. */
  readonly lagCommits: number;
  readonly lagBytes: number;
  readonly lagMs: number;
  readonly gaps: number;
  /** When it was restored last for a test, and was sound. */
  readonly verifiedMs?: number | undefined;
}

/** Restores for a test: each tenant in turn, beside its file, checked and compared. */
export interface StatusRehearsals {
  /** When the last one ended, sound or not; before the first: when they were switched on. */
  readonly lastAt: number;
  /** Of the tenant whose last one is the longest ago; null: there was none. */
  readonly oldestAt: number | null;
  /** Tenants in the store without one. */
  readonly unverified: number;
  /** Since the replicator started. */
  readonly sound: number;
  readonly unsound: number;
  /** Tenants whose last one failed. */
  readonly failedTenants: number;
  /** The newest of them; at most 20. */
  readonly failed: readonly StatusFailedRehearsal[];
}

/** Work on the replica that failed: a file read whole, a compaction, a restore for a test. */
export interface StatusReplicaFailure {
  readonly tenant: string;
  readonly message: string;
  readonly at: number;
}

/** A tenant whose replica is not sound. */
export interface StatusFailedRehearsal {
  readonly tenant: string;
  readonly problems: readonly string[];
  /** The commit that was restored; 0: none could be. */
  readonly commitSeq: number;
  readonly at: number;
}
