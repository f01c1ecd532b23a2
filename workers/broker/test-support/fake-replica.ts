import type { StoredUpTo } from '@onewriter/replicator';
import type { ReplicaMode, ReplicaState, StoredListener } from '../src/replica/replica-state.ts';

/** A replica whose store a test moves by hand. */
export class FakeReplica implements ReplicaState {
  configured = true;
  available = true;
  readonly status = undefined;
  readonly modes = new Map<string, ReplicaMode>();
  readonly #stored = new Map<string, StoredUpTo>();
  readonly #listeners = new Set<StoredListener>();

  stored(tenant: string): StoredUpTo | undefined {
    return this.#stored.get(tenant);
  }

  onStored(listener: StoredListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  modeOf(tenant: string): ReplicaMode {
    return this.modes.get(tenant) ?? 'async';
  }

  setMode(tenant: string, mode: ReplicaMode | undefined): void {
    if (mode === undefined) this.modes.delete(tenant);
    else this.modes.set(tenant, mode);
  }

  /** The store has the tenant's commits up to this one. */
  store(tenant: string, commitSeq: number, epoch = 1, atMs = 1_234, incarnation = ''): void {
    const upTo = { tenant, pos: commitSeq, commitSeq, epoch, incarnation };
    this.#stored.set(tenant, upTo);
    for (const listener of this.#listeners) listener(upTo, atMs);
  }
}
