import { askRedis, groupKeys, OnewriterError, parseDataDirRecord, placeOf } from '@onewriter/protocol';
import { openRedis } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { requireRedis, type Target } from '../target.ts';

/** A group that may be taken over. */
export interface LostGroup {
  /** Gives it to the next broker, unless one leads by now or another directory has it. @throws OnewriterError TENANT_BUSY */
  readonly release: () => Promise<void>;
  readonly close: () => void;
}

/**
 * Looks whether the group of a data directory that is gone may go to this one: nothing leads it, and it is the directory whose tenants
 * the replica has.
 * @param storedId identity of that directory; undefined: the replica names none
 * @returns undefined where the group is free, or belongs to this directory already
 * @throws OnewriterError MISCONFIGURED, TENANT_BUSY, QUEUE_UNAVAILABLE
 */
export async function findLostGroup(
  target: Target,
  ownId: string | undefined,
  storedId: string | undefined,
): Promise<LostGroup | undefined> {
  const redis = await openRedis(requireRedis(target));
  try {
    const { dataDir: key, lease } = groupKeys(target.group);
    const text = await askRedis(() => redis.get(key));
    const owner = parseDataDirRecord(text);
    if (owner === undefined || owner.id === ownId) {
      redis.disconnect();
      return undefined;
    }
    if (owner.id !== storedId) throw notOfReplica(target, `${owner.host}:${owner.path}`);
    if ((await askRedis(() => redis.exists(lease))) === 1) throw isLed(target, `${owner.host}:${owner.path}`);
    return {
      release: () => release(redis, target, { key, lease, text: text! }),
      close: () => redis.disconnect(),
    };
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

interface Seen {
  readonly key: string;
  readonly lease: string;
  readonly text: string;
}

/** What was looked at is looked at again, and nothing may change in between. */
async function release(redis: Redis, target: Target, { key, lease, text }: Seen): Promise<void> {
  await redis.watch(key, lease);
  const isSame = (await redis.get(key)) === text && (await redis.exists(lease)) === 0;
  const done = isSame ? await redis.multi().del(key).exec() : await redis.unwatch().then(() => null);
  if (done === null) throw isLed(target, 'the data directory that had it');
}

function isLed({ group }: Target, owner: string): OnewriterError {
  const message = `A broker of ${owner} leads group "${group}": that directory is not gone. That broker has to stop first, and not to come back; a killed one leads for some seconds more.`;
  return new OnewriterError('TENANT_BUSY', message, { reason: 'a broker leads' });
}

function notOfReplica({ group, dataDir }: Target, owner: string): OnewriterError {
  const { host, path } = placeOf(dataDir);
  const message = `Group "${group}" of this Redis belongs to the data directory ${owner}, and the replica is of another one: ${host}:${path} cannot take it over. Give --from of the replica that ${owner} had, or another ONEWRITER_GROUP.`;
  return new OnewriterError('MISCONFIGURED', message, { reason: 'another replica' });
}
