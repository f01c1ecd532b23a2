import { openReadOnly, readState } from '@onewriter/files';
import {
  assertTenantId,
  findDatabaseFile,
  OnewriterError,
  type StatusReplica,
  tenantFile,
} from '@onewriter/protocol';
import { openReplica, openReplicaReader, readVerified } from '@onewriter/replicator';
import { readGroupStatus } from '@onewriter/runtime';
import { EXIT } from '../exit-codes.ts';
import { withRedis } from '../open-redis.ts';
import { formatReplica } from '../replica/format-replica.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { findTenantReplica, formatTenantReplica } from '../replica/tenant-replica.ts';
import { findRemoteTarget, type PlaceOptions, type Target } from '../target.ts';

/** Options of `onewriter replica status`. */
export interface ReplicaStatusOptions extends PlaceOptions {
  readonly tenant?: string | undefined;
  readonly from?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Shows the stores, and the tenants that are most behind, or one. @returns 3 where nothing may wait for the replica */
export async function replicaStatus(options: ReplicaStatusOptions): Promise<number> {
  const { tenant, json } = options;
  if (tenant !== undefined) assertTenantId(tenant);
  const target = findRemoteTarget(options);
  const { status, readAt } = await withRedis(target, redis => readGroupStatus(redis, target.group));
  if (status === undefined) {
    throw new OnewriterError('TENANT_UNAVAILABLE', 'No broker reports: onewriter status says why.');
  }
  const { replica } = status;
  if (replica === undefined) {
    throw new OnewriterError(
      'REPLICA_UNAVAILABLE',
      'The broker replicates nothing: ONEWRITER_REPLICA_URL is not set, or it leads since a moment ago.',
    );
  }
  if (tenant === undefined) {
    process.stdout.write(json ? `${JSON.stringify(replica)}\n` : formatReplica(replica, readAt));
  } else {
    const facts = await ofTenant(tenant, replica, target, options);
    process.stdout.write(json ? `${JSON.stringify(facts)}\n` : formatTenantReplica(facts));
  }
  return replica.available ? EXIT.ok : EXIT.found;
}

function ofTenant(
  tenant: string,
  replica: StatusReplica,
  { config, dataDir, dbFile }: Target,
  { withoutFiles, from }: ReplicaStatusOptions,
) {
  return findTenantReplica(tenant, replica, {
    stored: async () => {
      const { store, keys } = await openReplica(replicaAccess(config, from));
      try {
        const entries = await openReplicaReader(store, keys).tenants();
        const entry = entries.find(each => each.tenant === tenant && each.kind !== 'deleted');
        if (entry !== undefined) return { commitSeq: entry.lastSeq, commitAt: entry.lastMs };
      } finally {
        await store.close();
      }
      throw new OnewriterError('TENANT_NOT_FOUND', `The replica has nothing of tenant ${tenant}.`, {
        tenant,
      });
    },
    inFile: () => {
      const file = withoutFiles ? undefined : findDatabaseFile(tenantFile(dataDir, tenant, dbFile));
      if (file === undefined) return undefined;
      const db = openReadOnly(file.path, config.busyTimeoutMs);
      try {
        return readState(db)?.commitSeq;
      } finally {
        db.close();
      }
    },
    verified: () => (withoutFiles ? undefined : readVerified(dataDir, tenant)),
  });
}
