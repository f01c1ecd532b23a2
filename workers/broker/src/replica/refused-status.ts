import type { ReplicaStatus } from '@onewriter/replicator';

/**
 * The status of a replicator that cannot work until a person acts. Its thread has ended and reports nothing, so this makes it visible.
 *
 * @param url of the store that answers callers
 * @param last what its thread reported before, if anything
 */
export function refusedStatus(
  url: string,
  problem: { readonly message: string; readonly sinceMs: number },
  last: ReplicaStatus | undefined,
): ReplicaStatus {
  const [first, ...copies] = last?.stores ?? [];
  const none = { requests: { get: 0, put: 0, delete: 0, list: 0 }, bytesOut: 0, bytesIn: 0 };
  const store = {
    ...none,
    ...first,
    ...{ address: first?.address ?? url, ok: false, failingSince: problem.sinceMs, error: problem.message },
  };
  const numbers = last ?? { term: 0, packs: 0, tenants: 0, lagMs: 0, lagBytes: 0, gaps: 0, worst: [] };
  return { ...numbers, stores: [store, ...copies] };
}
