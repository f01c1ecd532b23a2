import { groupKeys, OnewriterError, tenantQueue } from '@onewriter/protocol';
import { type FolderLook, readDurability, setDurability, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import type { TenantFiles, TrashEntry } from './tenant-files.ts';

/** What {@link createTenantDeletion} needs. */
export interface TenantDeletionOptions {
  readonly redis: Redis;
  readonly group: string;
  readonly files: TenantFiles;
  readonly retentionMs: number;
  /** Called when the folder was moved: readers of the file close it. */
  readonly onMoved: (tenant: string) => void;
}

/**
 * Deletes a tenant. Writes that come meanwhile wait, and make a new one where they are not discarded with the others.
 * @param discardQueued whether writes that wait in its queue may be lost
 * @param who asked for it
 * @returns undefined where its folder was gone already
 * @throws OnewriterError TENANT_BUSY (writes wait), TENANT_NOT_FOUND, BROKER_UNAVAILABLE, TENANT_UNAVAILABLE
 */
export type TenantDeletion = (
  tenant: string,
  discardQueued: boolean,
  who: string,
) => Promise<TrashEntry | undefined>;

/** Lists and sets of a queue whose jobs are deleted with it. Source: BullMQ's QueueKeys. */
const FINISHED = ['completed', 'failed'];
/** What else a queue consists of. */
const OTHER_KEYS = [
  'id',
  'events',
  'marker',
  'stalled-check',
  'stalled',
  'delayed',
  'prioritized',
  'pc',
  'repeat',
];
const CHUNK = 1_000;

/** Moves the folder into the trash while the broker has its file closed, and forgets the tenant's queue. */
export function createTenantDeletion(options: TenantDeletionOptions): TenantDeletion {
  const { redis, group, files, retentionMs, onMoved } = options;
  const keys = groupKeys(group);

  async function unlinkJobs(tenant: string, ids: readonly string[]): Promise<void> {
    const { prefix, name } = tenantQueue(group, tenant);
    for (let start = 0; start < ids.length; start += CHUNK) {
      const jobs = ids.slice(start, start + CHUNK).map(id => `${prefix}:${name}:${id}`);
      await redis.unlink(...jobs, ...jobs.map(job => `${job}:logs`));
    }
  }

  async function clearQueue(tenant: string, discardQueued: boolean): Promise<void> {
    const { prefix, name } = tenantQueue(group, tenant);
    const key = (part: string) => `${prefix}:${name}:${part}`;
    for (const set of FINISHED) {
      await unlinkJobs(tenant, await redis.zrange(key(set), '0', '-1'));
      await redis.unlink(key(set));
    }
    if (discardQueued) {
      await redis.hdel(key('meta'), 'onewriter.bytes');
      const waiting = await redis.lrange(key('wait'), 0, -1);
      await redis.unlink(key('wait'));
      await unlinkJobs(tenant, waiting);
    }
    await redis.unlink(...OTHER_KEYS.map(key));
    // The last job of the deleted file: it is in no ledger of a new one.
    await redis.hdel(key('meta'), 'onewriter.finished');
    await redis.hdel(keys.parked, tenant);
    // A new tenant of this name must not be without a replica because this one was.
    if ((await readDurability(redis, group, tenant)) !== undefined)
      await setDurability(redis, group, tenant, undefined);
    // A write that came meanwhile keeps the tenant known: it makes a new, empty one.
    if ((await redis.llen(key('wait'))) === 0) await redis.zrem(keys.tenants, tenant);
  }

  return async (tenant, discardQueued, who) => {
    const [{ size, hibernated, isGone, trouble }] = (await files.look([tenant])) as [FolderLook];
    if (size === undefined && hibernated === undefined && !isGone) {
      if (trouble !== undefined) throw new OnewriterError('TENANT_UNAVAILABLE', trouble, { tenant });
      throw new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
    }
    const reason = discardQueued ? 'with what waits in its queue' : 'its folder goes to the trash';
    const request = { name: 'delete', who, reason, exclusive: true, needsLeader: true } as const;
    return withHeldTenant(redis, group, tenant, request, async held => {
      const queuedJobs = await held.countJobs();
      if (queuedJobs > 0 && !discardQueued) {
        const message = `${queuedJobs} jobs wait in the tenant's queue; let them be applied, or discard them.`;
        throw new OnewriterError('TENANT_BUSY', message, { tenant, queuedJobs });
      }
      await held.assertHeld();
      // As it was before: the broker forgets a file that is gone when it lets go of it.
      const entry = await files.moveToTrash(tenant, retentionMs, isGone || hibernated !== undefined);
      onMoved(tenant);
      await clearQueue(tenant, discardQueued);
      return entry;
    });
  };
}
