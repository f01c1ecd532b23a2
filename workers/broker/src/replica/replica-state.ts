import type { Durability } from '@onewriter/protocol';
import type { ReplicaStatus, StoredUpTo } from '@onewriter/replicator';

/**
 * How a tenant is replicated: `async` answers callers before the store has their commits, `sync` after it; `off` stores
 * nothing.
 */
export type ReplicaMode = Durability;

/** Called for each tenant of which more is stored. @param atMs when the store had it, ms since the epoch */
export type StoredListener = (upTo: StoredUpTo, atMs: number) => void;

/** What the parts of a leader ask about replication. */
export interface ReplicaState {
  /** Whether there is a store at all. */
  readonly configured: boolean;
  /** False where nothing may wait for the store: there is none, or it has failed for too long. */
  readonly available: boolean;
  /** As of the last second; undefined before the first report. */
  readonly status: ReplicaStatus | undefined;
  /** How far a tenant is stored; undefined where that is unknown, as it is after a start until its first commit is stored. */
  stored(tenant: string): StoredUpTo | undefined;
  /** @returns removes the listener */
  onStored(listener: StoredListener): () => void;
  modeOf(tenant: string): ReplicaMode;
  /** @param mode undefined: the default of the settings */
  setMode(tenant: string, mode: ReplicaMode | undefined): void;
}

/** Whether a commit is stored. A new epoch continues the numbers of the one before; another file may have the same ones. */
export function isStored(
  upTo: StoredUpTo | undefined,
  commit: Pick<StoredUpTo, 'epoch' | 'commitSeq' | 'incarnation'>,
): boolean {
  if (upTo?.incarnation !== commit.incarnation) return false;
  return upTo.epoch >= commit.epoch && upTo.commitSeq >= commit.commitSeq;
}
