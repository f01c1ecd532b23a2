import type { MessagePort } from 'node:worker_threads';
import type { BranchPoint, StatusReplica } from '@onewriter/protocol';
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
  /** Its file is still and should be in one piece. */
  | { readonly kind: 'shorten'; readonly tenant: string }
  /** A tenant that begins as another is, or was (branch): answered by `based`. */
  | {
      readonly kind: 'base';
      readonly tenant: string;
      readonly from: string;
      /** Undefined: the newest commit that is stored. */
      readonly at?: BranchPoint | undefined;
      /** Size of the other's file. */
      readonly bytes: number;
      /** Id of the request. */
      readonly request: string;
    }
  /** All that people chose; stored where the store has others. */
  | { readonly kind: 'durabilities'; readonly tenants: ChosenDurabilities }
  /** Ship what is there and end: answered by `ended`. */
  | { readonly kind: 'end'; readonly withinMs: number };

/** A branch that the store has and that has no segment with pages yet. */
export interface StoredBranch {
  readonly tenant: string;
  readonly at: BranchPoint;
  /** Size of the file that it begins as; 0 where that is not known. */
  readonly bytes: number;
  /** Id of the request for it. */
  readonly request: string | undefined;
}

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

/** What the thread knows of the replica; the leader publishes it with what callers wait for. */
export type ReplicaStatus = Omit<StatusReplica, 'available' | 'bufferBytes' | 'waitingJobs'>;

export type FromReplicator =
  /** Those that the store has. */
  | { readonly kind: 'durabilities'; readonly tenants: ChosenDurabilities }
  | {
      readonly kind: 'started';
      readonly known: readonly string[];
      readonly branches: readonly StoredBranch[];
    }
  /** The store has the branch; or it is refused, and nothing was stored. */
  | { readonly kind: 'based'; readonly tenant: string; readonly at: BranchPoint; readonly bytes: number }
  | { readonly kind: 'based'; readonly tenant: string; readonly at?: undefined; readonly refused: string }
  | { readonly kind: 'stored'; readonly upTo: readonly StoredUpTo[]; readonly atMs: number }
  /** The store fails for so long that nothing may wait for it; or does again. */
  | { readonly kind: 'available'; readonly available: boolean }
  | { readonly kind: 'status'; readonly status: ReplicaStatus }
  /** Another broker writes to the store. This one must stop leading. */
  | { readonly kind: 'fenced'; readonly message: string }
  /** It cannot work: a person has to act. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }
  | { readonly kind: 'ended' };
