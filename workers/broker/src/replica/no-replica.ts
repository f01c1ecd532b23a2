import type { ReplicaMode, ReplicaState } from './replica-state.ts';

/** What a leader without a store knows: only which tenants asked for one, so that their writes can be refused. */
export class NoReplica implements ReplicaState {
  readonly configured = false;
  readonly available = false;
  readonly status = undefined;
  readonly #modes = new Map<string, ReplicaMode>();

  stored(): undefined {
    return undefined;
  }

  onStored(): () => void {
    return () => {};
  }

  /** A default of `sync` is about a store, and there is none. */
  modeOf(tenant: string): ReplicaMode {
    return this.#modes.get(tenant) ?? 'async';
  }

  setMode(tenant: string, mode: ReplicaMode | undefined): void {
    if (mode === undefined) this.#modes.delete(tenant);
    else this.#modes.set(tenant, mode);
  }
}
