import { OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import { type OpenReplica, type ReplicaAccess, withReplicas } from '../jobs/replica-access.ts';

const AT_A_TIME = 8;

export interface RewrapOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Keys of tenants, in all stores. */
export interface Rewrapped {
  readonly rewrapped: number;
  /** They were under the newest master key already. */
  readonly present: number;
  readonly failed: readonly { readonly tenant: string; readonly store: string; readonly error: WireError }[];
}

/**
 * Puts the keys of all tenants under the newest master key, in each store, so that the former one can be given up. Stopped, it is run
 * again: what is done stays.
 * @throws OnewriterError MISCONFIGURED without a master key; REPLICA_…, ABORTED
 */
export function rewrapKeys(
  accesses: readonly ReplicaAccess[],
  options: RewrapOptions = {},
): Promise<Rewrapped> {
  const { signal, onProgress } = options;
  if (accesses.some(({ masterKeys }) => masterKeys.length === 0)) {
    throw new OnewriterError('MISCONFIGURED', 'There is no ONEWRITER_REPLICA_KEY to put keys under.');
  }
  return withReplicas(accesses, async replicas => {
    const all: { readonly tenant: string; readonly replica: OpenReplica }[] = [];
    for (const replica of replicas) {
      for await (const tenant of replica.keys.tenants(signal)) all.push({ tenant, replica });
    }
    const total = all.length;
    let [rewrapped, present] = [0, 0];
    const failed: Rewrapped['failed'][number][] = [];
    onProgress?.(0, total);
    const work = async () => {
      for (let next = all.shift(); next !== undefined; next = all.shift()) {
        signal?.throwIfAborted();
        const { tenant, replica } = next;
        try {
          if (await replica.keys.rewrap(tenant)) rewrapped++;
          else present++;
        } catch (error) {
          failed.push({ tenant, store: replica.store.address, error: toWireError(error) });
        }
        onProgress?.(rewrapped + present + failed.length, total);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
    return { rewrapped, present, failed };
  });
}
