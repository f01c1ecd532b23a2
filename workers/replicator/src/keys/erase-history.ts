import { OnewriterError } from '@onewriter/protocol';
import { readState } from '../chain/replica-state.ts';
import { type ReplicaAccess, withReplicas } from '../jobs/replica-access.ts';

/** What became unreadable. */
export interface ErasedHistory {
  readonly tenant: string;
  /** Addresses of the stores, the first one first. */
  readonly stores: readonly string[];
}

/**
 * Makes the whole history of a deleted tenant unreadable, for ever: its key is destroyed in each store, and with it every segment in
 * every pack. May be repeated, such as where a store was away.
 * @param accesses of all stores; the first one first
 * @throws OnewriterError MISCONFIGURED where tenants have no keys of their own; TENANT_NOT_FOUND; TENANT_BUSY where it is not deleted;
 * REPLICA_…
 */
export function eraseHistory(accesses: readonly ReplicaAccess[], tenant: string): Promise<ErasedHistory> {
  if (accesses.some(({ keys, masterKeys }) => keys !== 'tenant' || masterKeys.length === 0))
    throw noOwnKeys();
  return withReplicas(accesses, async replicas => {
    const chain = (await readState(replicas[0]!.store)).tenants.get(tenant);
    const isKnown = chain !== undefined || (await replicas[0]!.keys.isErased(tenant));
    if (!isKnown) {
      const message = `The replica has nothing of tenant ${tenant}: it expired, or was never stored.`;
      throw new OnewriterError('TENANT_NOT_FOUND', message, { tenant });
    }
    const check = async () => {
      const { tenants } = await readState(replicas[0]!.store);
      if (tenants.get(tenant)?.isAlive) throw notDeleted(tenant);
      const firsts = [...tenants.values()].flatMap(({ places: [first] }) => first?.entry ?? []);
      const branch = firsts.find(({ base }) => base?.tenant === tenant);
      if (branch !== undefined) throw hasBranch(tenant, branch.tenant);
    };
    // The first one first: the copies get its keys.
    for (const { keys } of replicas) await keys.erase(tenant, Date.now(), check);
    return { tenant, stores: replicas.map(({ store }) => store.address) };
  });
}

function noOwnKeys(): OnewriterError {
  return new OnewriterError(
    'MISCONFIGURED',
    'Tenants have no keys of their own, so the history of one cannot be made unreadable: it expires after ONEWRITER_REPLICA_RETENTION. ' +
      'What is stored with ONEWRITER_REPLICA_KEY and ONEWRITER_REPLICA_KEYS=tenant can be erased.',
    { reason: 'one key for all' },
  );
}

function notDeleted(tenant: string): OnewriterError {
  return new OnewriterError(
    'TENANT_BUSY',
    `The replica has tenant ${tenant} as one that is in use. Delete it first (onewriter tenants delete ${tenant}); the replica hears of it within seconds.`,
    { tenant, reason: 'not deleted' },
  );
}

function hasBranch(tenant: string, branch: string): OnewriterError {
  return new OnewriterError(
    'TENANT_BUSY',
    `Tenant ${branch} began as ${tenant} was, and has no pages of its own in the replica yet: it could not be read without the key. Wake it and write to it, or delete it; within a day it has its own.`,
    { tenant, branch, reason: 'has a branch' },
  );
}
