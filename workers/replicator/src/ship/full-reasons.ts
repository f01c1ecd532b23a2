import { readState } from '../chain/replica-state.ts';
import type { Compacted } from '../compact/compact-once.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { mayRenew } from './may-renew.ts';
import type { ReplicaStatus } from './messages.ts';
import { untilAnswered } from './pack-writer.ts';
import type { StoredTenant } from './ship-state.ts';
import type { TenantLine } from './tenant-line.ts';

/** Tenants that are named. */
const MAX_NAMED = 20;

export interface FullReasonsOptions {
  readonly store: ObjectStore;
  readonly lines: ReadonlyMap<string, TenantLine>;
  readonly stored: ReadonlyMap<string, StoredTenant>;
  readonly sizeOf: (tenant: string) => number;
  /** A line has to be read whole. */
  readonly add: (line: TenantLine) => void;
  readonly nowMs: () => number;
  readonly signal: AbortSignal;
}

/** Tenants that a compaction found to need a new full segment. */
export class FullReasons {
  readonly #options: FullReasonsOptions;
  #damaged = 0;
  #named: readonly string[] = [];

  constructor(options: FullReasonsOptions) {
    this.#options = options;
  }

  /** Segments and packs that the store changed, and tenants that were stored again for it, the newest first. */
  get damaged(): NonNullable<ReplicaStatus['damaged']> {
    return { found: this.#damaged, tenants: this.#named };
  }

  /** @throws Error after the signal aborted */
  async take({ needsFull, damaged }: Pick<Compacted, 'needsFull' | 'damaged'>): Promise<void> {
    const { lines, add } = this.#options;
    const { tenants, packs } = damaged;
    this.#damaged += tenants.length + packs.length;
    const broken = new Set([...tenants, ...(packs.length === 0 ? [] : await this.#findLacking())]);
    for (const tenant of broken) {
      const line = lines.get(tenant);
      line?.damaged();
      if (line !== undefined) add(line);
    }
    const others = this.#named.filter(tenant => !broken.has(tenant));
    this.#named = [...broken, ...others].slice(0, MAX_NAMED);
    this.#renew(needsFull);
  }

  /** Those that are stored up to a commit that the store does not have any more. */
  async #findLacking(): Promise<readonly string[]> {
    const { store, stored, signal } = this.#options;
    // As of before the store is read: what is stored meanwhile is no lack.
    const before = [...stored.values()].map(({ tenant, pos }) => ({ tenant, pos }));
    const { tenants } = await untilAnswered(signal, () => readState(store, { signal }));
    return before
      .filter(({ tenant, pos }) => (tenants.get(tenant)?.pos ?? 0) < pos)
      .map(({ tenant }) => tenant);
  }

  /** Tenants whose chains became long. */
  #renew(needsFull: readonly string[]): void {
    const { lines, stored, sizeOf, nowMs, add } = this.#options;
    for (const tenant of needsFull) {
      const line = lines.get(tenant);
      const { commitMs = 0 } = stored.get(tenant) ?? {};
      if (line === undefined || !mayRenew(commitMs, nowMs(), () => sizeOf(tenant))) continue;
      line.renew();
      add(line);
    }
  }
}
