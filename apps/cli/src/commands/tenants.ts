import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { groupKeys, TENANT_ID_PATTERN, tenantFile, tenantQueue, tenantsDir } from '@onewriter/protocol';
import { Redis } from 'ioredis';
import { formatBytes, formatTable } from '../table.ts';
import { findTarget, type Target } from '../target.ts';

/** Options of `onewriter tenants`, as the command line gives them. */
export interface TenantsOptions {
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** One tenant, as `onewriter tenants --json` lists it. */
export interface TenantSummary {
  readonly tenant: string;
  /** Database and write-ahead log; null where there is no file yet. */
  readonly bytes: number | null;
  /** ISO time of the last activity that the registry knows; null where Redis knows none. */
  readonly lastActivity: string | null;
  /** Jobs that wait or are being applied; null where Redis does not answer. */
  readonly queuedJobs: number | null;
  /** Why it cannot be opened, as the broker noted it; null for a healthy tenant. */
  readonly parked: string | null;
}

/** Commands per round trip, so that tens of thousands of tenants neither block Redis nor fill memory. */
const CHUNK = 1_000;

/** Lists all tenants that have a file or are known to Redis, by name. */
export async function tenants(options: TenantsOptions): Promise<number> {
  const target = findTarget(options.dataDir);
  const [sizes, queue] = await Promise.all([readSizes(target), readQueues(target)]);
  const names = new Set([...sizes.keys(), ...(queue?.activity.keys() ?? [])]);
  const list = Array.from(names)
    .sort()
    .map(
      (tenant): TenantSummary => ({
        tenant,
        bytes: sizes.get(tenant) ?? null,
        lastActivity: isoTime(queue?.activity.get(tenant)),
        queuedJobs: queue === undefined ? null : (queue.depths.get(tenant) ?? 0),
        parked: queue?.parked.get(tenant) ?? null,
      }),
    );
  if (queue === undefined) {
    process.stderr.write('onewriter: Redis does not answer; activity and queues are not shown\n');
  }
  process.stdout.write(options.json ? `${JSON.stringify(list)}\n` : asText(list));
  return 0;
}

function asText(list: readonly TenantSummary[]): string {
  const rows = list.map(({ tenant, bytes, lastActivity, queuedJobs, parked }) => [
    tenant,
    bytes === null ? '-' : formatBytes(bytes),
    lastActivity === null ? '-' : lastActivity.slice(0, 19).replace('T', ' '),
    queuedJobs === null ? '-' : String(queuedJobs),
    parked === null ? 'ok' : `parked: ${parked}`,
  ]);
  return `${formatTable(['tenant', 'size', 'last activity (UTC)', 'queued jobs', 'state'], rows)}${list.length} tenants\n`;
}

async function readSizes(target: Target): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  let folders: Dirent[];
  try {
    folders = await readdir(tenantsDir(target.dataDir), { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return sizes;
    throw error;
  }
  for (const folder of folders) {
    if (!folder.isDirectory() || !TENANT_ID_PATTERN.test(folder.name)) continue;
    const file = tenantFile(target.dataDir, folder.name, target.dbFile);
    const [database, log] = await Promise.all([sizeOf(file), sizeOf(`${file}-wal`)]);
    if (database !== undefined) sizes.set(folder.name, database + (log ?? 0));
  }
  return sizes;
}

/** By stat alone: opening and closing a database file would drop SQLite's locks of this process. */
async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

interface Queues {
  /** Last activity in ms since the epoch. */
  readonly activity: ReadonlyMap<string, number>;
  readonly depths: ReadonlyMap<string, number>;
  readonly parked: ReadonlyMap<string, string>;
}

/** Undefined where there is no Redis, or it does not answer. */
async function readQueues(target: Target): Promise<Queues | undefined> {
  if (target.redisUrl === undefined) return undefined;
  const redis = new Redis(target.redisUrl, {
    lazyConnect: true,
    retryStrategy: null,
    connectTimeout: 3_000,
    commandTimeout: 10_000,
  });
  redis.on('error', () => {}); // the caller says that it does not answer
  try {
    await redis.connect();
  } catch {
    redis.disconnect();
    return undefined;
  }
  try {
    const keys = groupKeys(target.group);
    const activity = new Map<string, number>();
    // A scan, not ranges by rank: ranks move while tenants are active.
    let cursor = '0';
    do {
      const [next, part] = await redis.zscan(keys.tenants, cursor, 'COUNT', CHUNK);
      for (let index = 0; index < part.length; index += 2) {
        activity.set(part[index]!, Number(part[index + 1]));
      }
      cursor = next;
    } while (cursor !== '0');
    const parked = new Map<string, string>();
    for (const [tenant, json] of Object.entries(await redis.hgetall(keys.parked))) {
      parked.set(tenant, describeParked(json));
    }
    return { activity, depths: await readDepths(redis, target.group, [...activity.keys()]), parked };
  } finally {
    redis.disconnect();
  }
}

async function readDepths(
  redis: Redis,
  group: string,
  names: readonly string[],
): Promise<Map<string, number>> {
  const depths = new Map<string, number>();
  for (let start = 0; start < names.length; start += CHUNK) {
    const part = names.slice(start, start + CHUNK);
    const pipeline = redis.pipeline();
    for (const tenant of part) {
      // BullMQ's lists of a queue: what waits, what is being applied, what waits while the queue is paused.
      const queue = tenantQueue(group, tenant);
      for (const list of ['wait', 'active', 'paused']) pipeline.llen(`${queue.prefix}:${queue.name}:${list}`);
    }
    const replies = (await pipeline.exec()) ?? [];
    part.forEach((tenant, index) => {
      let depth = 0;
      for (const [error, length] of replies.slice(index * 3, index * 3 + 3)) {
        if (error) throw error;
        depth += Number(length);
      }
      depths.set(tenant, depth);
    });
  }
  return depths;
}

function describeParked(json: string): string {
  try {
    const record = JSON.parse(json) as { code?: string; error?: { code?: string } };
    return record.code ?? record.error?.code ?? json;
  } catch {
    return json;
  }
}

function isoTime(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
