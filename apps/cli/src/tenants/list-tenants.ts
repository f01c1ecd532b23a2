import { type Dirent, readdirSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import {
  groupKeys,
  realDatabasePath,
  TENANT_ID_PATTERN,
  tenantFile,
  tenantQueue,
  tenantsDir,
} from '@onewriter/protocol';
import { readHolders, type TenantHolder } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import type { Target } from '../target.ts';

/** Names of all tenants that have a folder with a database file, sorted. */
export async function listTenantFiles(target: Target): Promise<string[]> {
  return [...(await readSizes(target)).keys()].sort();
}

/** Names of all folders that may be a tenant's, whatever is in them. */
export function listTenantFolders(target: Target): string[] {
  return readdirSync(tenantsDir(target.dataDir), { withFileTypes: true })
    .filter(entry => entry.isDirectory() && TENANT_ID_PATTERN.test(entry.name))
    .map(({ name }) => name);
}

/** Bytes of a tenant's files. */
export interface TenantSize {
  readonly bytes: number;
  /** The write-ahead log, which is part of the database. */
  readonly walBytes: number;
}

/** Sizes of all tenants that have a file. @throws Error of the file system, but for a folder that is not there */
export async function readSizes(target: Target): Promise<Map<string, TenantSize>> {
  const sizes = new Map<string, TenantSize>();
  let folders: Dirent[];
  try {
    folders = await readdir(tenantsDir(target.dataDir), { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return sizes;
    throw error;
  }
  for (const folder of folders) {
    if (!folder.isDirectory() || !TENANT_ID_PATTERN.test(folder.name)) continue;
    const size = await readSize(target, folder.name);
    if (size !== undefined) sizes.set(folder.name, size);
  }
  return sizes;
}

/** By stat alone: opening and closing a database file would drop SQLite's locks of this process. */
export async function readSize(target: Target, tenant: string): Promise<TenantSize | undefined> {
  const file = realDatabasePath(tenantFile(target.dataDir, tenant, target.dbFile));
  const [bytes, walBytes] = await Promise.all([sizeOf(file), sizeOf(`${file}-wal`)]);
  return bytes === undefined ? undefined : { bytes, walBytes: walBytes ?? 0 };
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What Redis knows of tenants. */
export interface TenantQueues {
  /** Last activity in ms since the epoch, of all tenants ever seen. */
  readonly activity: ReadonlyMap<string, number>;
  /** Jobs that wait or are being applied. */
  readonly depths: ReadonlyMap<string, number>;
  /** Who keeps tenants still; tenants without a holder are not in it. */
  readonly holders: ReadonlyMap<string, readonly TenantHolder[]>;
  readonly parked: ReadonlyMap<string, ParkedRecord>;
}

/** Why the broker cannot write a tenant's file. */
export interface ParkedRecord {
  readonly code: string;
  readonly message: string;
  /** ISO time. */
  readonly since: string;
}

/** Tenants per round trip, so that tens of thousands of tenants neither block Redis nor fill memory. */
const CHUNK = 1_000;

/** Reads what Redis knows of all tenants. @param more names that Redis may not know */
export async function readQueues(
  redis: Redis,
  group: string,
  more: readonly string[] = [],
): Promise<TenantQueues> {
  const keys = groupKeys(group);
  const activity = new Map<string, number>();
  // A scan, not ranges by rank: ranks move while tenants are active.
  let cursor = '0';
  do {
    const [next, part] = await redis.zscan(keys.tenants, cursor, 'COUNT', CHUNK);
    for (let index = 0; index < part.length; index += 2) activity.set(part[index]!, Number(part[index + 1]));
    cursor = next;
  } while (cursor !== '0');
  const parked = new Map<string, ParkedRecord>();
  for (const [tenant, json] of Object.entries(await redis.hgetall(keys.parked))) {
    parked.set(tenant, parseParked(json));
  }
  const names = [...new Set([...activity.keys(), ...more])];
  return { activity, parked, ...(await readDepths(redis, group, names)) };
}

async function readDepths(
  redis: Redis,
  group: string,
  names: readonly string[],
): Promise<{ depths: Map<string, number>; holders: Map<string, readonly TenantHolder[]> }> {
  const depths = new Map<string, number>();
  const holders = new Map<string, readonly TenantHolder[]>();
  for (let start = 0; start < names.length; start += CHUNK) {
    const part = names.slice(start, start + CHUNK);
    const pipeline = redis.pipeline();
    for (const tenant of part) {
      // BullMQ's lists of a queue: what waits, what is being applied, what waits while the queue is paused.
      const queue = tenantQueue(group, tenant);
      for (const list of ['wait', 'active', 'paused']) pipeline.llen(`${queue.prefix}:${queue.name}:${list}`);
    }
    const [executed, held] = await Promise.all([pipeline.exec(), readHolders(redis, group, part)]);
    const replies = executed ?? [];
    part.forEach((tenant, index) => {
      const numbers = replies.slice(index * 3, index * 3 + 3).map(([error, value]) => {
        if (error) throw error;
        return Number(value);
      });
      depths.set(tenant, numbers[0]! + numbers[1]! + numbers[2]!);
      if (held[index]!.length > 0) holders.set(tenant, held[index]!);
    });
  }
  return { depths, holders };
}

function parseParked(json: string): ParkedRecord {
  try {
    const { code = 'unknown', message = '', since = '' } = JSON.parse(json) as Partial<ParkedRecord>;
    return { code, message, since };
  } catch {
    return { code: 'unknown', message: json, since: '' };
  }
}
