import type { MessagePort } from 'node:worker_threads';
import type { CaptureOptions } from '@onewriter/writer';
import type { ChosenDurabilities } from './stored-durabilities.ts';

/*
 * Between the broker's main thread and the thread that ships. The logs themselves come over ports of the writer threads.
 */

/** What the thread is started with. */
export interface ReplicatorData extends CaptureOptions {
  readonly urls: readonly string[];
  readonly dataDir: string;
  readonly dbFile: string;
  readonly dataDirId: string;
  readonly group: string;
  readonly intervalMs: number;
  readonly retentionMs: number;
  /** Whether tenants are restored in turn for a test. */
  readonly rehearsals: boolean;
  /** Secret; undefined: nothing is encrypted. */
  readonly masterKey?: string | undefined;
  readonly keys: 'one' | 'tenant';
}

export type ToReplicator =
  /** A writer thread, or the process apart, has a port of its own. */
  | { readonly kind: 'port'; readonly port: MessagePort }
  /** What is not to be stored (`off`); the tenant begins with a full segment when it is switched on again. */
  | { readonly kind: 'off'; readonly tenant: string; readonly off: boolean }
  | { readonly kind: 'deleted'; readonly tenant: string; readonly change?: number | undefined }
  /** Its file was put in place by other means than commits (restore, load, adopt): it begins again. */
  | { readonly kind: 'replaced'; readonly tenant: string; readonly change?: number | undefined }
  /** A tenant that begins as another was (branch). */
  | {
      readonly kind: 'base';
      readonly tenant: string;
      readonly base: { readonly tenant: string; readonly pos: number };
    }
  /** All that people chose; stored where the store has others. */
  | { readonly kind: 'durabilities'; readonly tenants: ChosenDurabilities }
  /** Ship what is there and end: answered by `ended`. */
  | { readonly kind: 'end'; readonly withinMs: number };

/** Up to here it is stored in the first store. */
export interface StoredUpTo {
  readonly tenant: string;
  readonly pos: number;
  /** Of a deleted tenant both are 0: a new file of its name may count from 1 again. */
  readonly commitSeq: number;
  readonly epoch: number;
  /** Of the file that these commits were made in, as of DatabaseFile. */
  readonly incarnation: string;
  /** The last `deleted` or `replaced` that this comes after; undefined: none. */
  readonly change?: number | undefined;
}

/** What is known of a tenant. */
export interface TenantReplica {
  readonly tenant: string;
  readonly pos: number;
  readonly commitSeq: number;
  /** Of the newest commit that is stored, and when it was. */
  readonly commitMs: number;
  readonly storedMs: number;
  /** Captured and not stored. */
  readonly lagCommits: number;
  readonly lagBytes: number;
  readonly lagMs: number;
  readonly gaps: number;
  /** When it was restored last for a test, and up to where; undefined: never, or that failed. */
  readonly verifiedMs: number | undefined;
  readonly verifiedPos: number | undefined;
}

/** How far a further store is behind the first. */
export interface CopyStatus {
  /** Packs that it lacks; undefined: it could not be looked at yet. */
  readonly behindPacks: number | undefined;
  /** It lacks nothing that is older than this; counted from the start where it lacks more. */
  readonly behindMs: number;
  /** Why the last attempt failed. */
  readonly error?: string | undefined;
}

/** What is known of a store. */
export interface StoreStatus {
  readonly address: string;
  readonly ok: boolean;
  /** Since when it fails, ms since the epoch, and how. */
  readonly failingSinceMs?: number | undefined;
  readonly error?: string | undefined;
  /** Of a further store. */
  readonly copy?: CopyStatus | undefined;
  readonly requests: Readonly<Record<'get' | 'put' | 'delete' | 'list', number>>;
  readonly bytesOut: number;
  readonly bytesIn: number;
}

/** A tenant whose replica is not sound. */
export interface FailedRehearsal {
  readonly tenant: string;
  /** For people; bounded. */
  readonly problems: readonly string[];
  readonly commitSeq: number;
  readonly atMs: number;
}

/** What is known from restores for a test. */
export interface RehearsalStatus {
  /** When the last one ended, sound or not; before the first: when they were switched on. */
  readonly lastMs: number;
  /** Of the tenant whose last one is the longest ago; undefined: there was none. */
  readonly oldestMs: number | undefined;
  /** Tenants in the store without one. */
  readonly unverified: number;
  /** Since the thread started. */
  readonly sound: number;
  readonly unsound: number;
  /** Tenants whose last one failed, and those of them that are named: the newest; bounded. */
  readonly failedTenants: number;
  readonly failed: readonly FailedRehearsal[];
}

export interface ReplicaStatus {
  readonly stores: readonly StoreStatus[];
  readonly term: number;
  /** Number of the newest pack. */
  readonly packs: number;
  readonly tenants: number;
  readonly lagMs: number;
  readonly lagBytes: number;
  readonly gaps: number;
  /** Segments and packs that the store changed since this start, and tenants that were stored again for it; bounded. */
  readonly damaged?: { readonly found: number; readonly tenants: readonly string[] } | undefined;
  /** Files that could not be read whole, and compactions (tenant ''), which are tried again; bounded. */
  readonly failures?: readonly { readonly tenant: string; readonly message: string; readonly atMs: number }[];
  /** Tenants with the longest lag, and those with gaps; bounded. */
  readonly worst: readonly TenantReplica[];
  /** Undefined where they are switched off, and before the start. */
  readonly rehearsals?: RehearsalStatus | undefined;
}

export type FromReplicator =
  /** Those that the store has. */
  | { readonly kind: 'durabilities'; readonly tenants: ChosenDurabilities }
  | { readonly kind: 'started'; readonly known: readonly string[] }
  | { readonly kind: 'stored'; readonly upTo: readonly StoredUpTo[]; readonly atMs: number }
  /** The store fails for so long that nothing may wait for it; or does again. */
  | { readonly kind: 'available'; readonly available: boolean }
  | { readonly kind: 'status'; readonly status: ReplicaStatus }
  /** Another broker writes to the store. This one must stop leading. */
  | { readonly kind: 'fenced'; readonly message: string }
  /** It cannot work: a person has to act. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }
  | { readonly kind: 'ended' };
