import type { StatusRedis } from '@onewriter/protocol';
import type { RedisLink } from '../../queue/redis-link.ts';

/** Facts about Redis. @throws Error of Redis or its connection. */
export async function readRedisFacts(link: RedisLink): Promise<StatusRedis> {
  const startedAt = performance.now();
  await link.call('PING');
  const roundTripMs = performance.now() - startedAt;
  const [info, aofFsync] = await Promise.all([
    link.call('INFO'),
    // Not allowed on some hosted servers.
    link.call('CONFIG', 'GET', 'appendfsync').catch(() => []),
  ]);
  return parseRedisInfo(String(info), roundTripMs, (aofFsync as string[])[1] ?? null);
}

/** Reads the answer to INFO. Source: https://redis.io/docs/latest/commands/info/. */
export function parseRedisInfo(info: string, roundTripMs: number, aofFsync: string | null): StatusRedis {
  const fields = new Map<string, string>();
  for (const line of info.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  const text = (name: string) => fields.get(name) ?? '';
  const number = (name: string) => Number(fields.get(name) ?? 0) || 0;
  // A missing status is no error: some servers leave it out.
  const isOk = (name: string) => (fields.get(name) ?? 'ok') === 'ok';
  return {
    version: text('valkey_version') || text('redis_version'),
    roundTripMs: Number(roundTripMs.toPrecision(3)),
    usedMemoryBytes: number('used_memory'),
    maxMemoryBytes: number('maxmemory'),
    maxMemoryPolicy: text('maxmemory_policy'),
    connectedClients: number('connected_clients'),
    commandsPerSecond: number('instantaneous_ops_per_sec'),
    aofEnabled: number('aof_enabled') === 1,
    aofFsync,
    aofLastWriteOk: isOk('aof_last_write_status'),
    aofRewriteInProgress: number('aof_rewrite_in_progress') === 1,
    rdbLastSaveOk: isOk('rdb_last_bgsave_status'),
    rdbLastSaveAt: number('rdb_last_save_time') * 1_000,
  };
}
