import { resolve } from 'node:path';
import type { JobContext } from '@onewriter/files';
import { assertNotHibernated, findDatabaseFile, OnewriterError, tenantFile } from '@onewriter/protocol';
import { withHeldTenant } from '@onewriter/tenants';
import { openReplicaReader, type ReplicaReader } from '../chain/replica-reader.ts';
import { openGivenReplica, type PublicAccess } from '../jobs/replica-access.ts';
import { placeOf } from './hibernated-place.ts';
import { putNote } from './put-note.ts';

export interface NoteMissingArgs extends PublicAccess {
  readonly who: string;
}

/** A tenant that has a note instead of a file. */
export interface NotedTenant {
  readonly pos: number;
  readonly commitSeq: number;
  /** Of its file, when it comes. */
  readonly bytes: number;
}

/** The state of the store is read once for all tenants of a process. */
let opened: Promise<ReplicaReader> | undefined;

/**
 * Notes a tenant of the replica, which has no file here, as hibernated: nothing is fetched, and it comes when it is used. In a process of
 * its own, for one tenant after the other.
 * @throws OnewriterError TENANT_BUSY where it has a file; REPLICA_…, TENANT_UNAVAILABLE
 */
export async function noteMissing(
  { place, tenant, redis }: Omit<JobContext, 'onProgress'>,
  { who, ...access }: NoteMissingArgs,
): Promise<NotedTenant> {
  opened ??= openGivenReplica(access).then(({ store, keys }) => openReplicaReader(store, keys));
  const plan = await (await opened).plan(tenant, { kind: 'newest' });
  const { pos, commitSeq, segments } = plan;
  const { pages, pageSize } = segments.at(-1)!.entry;
  const bytes = pages * pageSize;
  const put = () => {
    assertMissing(place, tenant);
    const since = new Date().toISOString();
    putNote(place.dataDir, tenant, { commitSeq, bytes, since, who, place: placeOf(plan) });
  };
  const hold = { name: 'restore', who, reason: 'noted as hibernated', exclusive: true } as const;
  if (redis === undefined) put();
  else {
    await withHeldTenant(redis, place.group, tenant, hold, async held => {
      await held.beginChange();
      put();
    });
  }
  return { pos, commitSeq, bytes };
}

/** @throws OnewriterError TENANT_BUSY */
function assertMissing({ dataDir, dbFile }: JobContext['place'], tenant: string): void {
  assertNotHibernated(dataDir, tenant);
  if (findDatabaseFile(resolve(tenantFile(dataDir, tenant, dbFile))) === undefined) return;
  throw new OnewriterError('TENANT_BUSY', `Tenant ${tenant} has a file.`, { tenant });
}
