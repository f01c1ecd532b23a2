import { expect, it } from 'vitest';
import { parseRedisInfo } from './redis-facts.ts';

it('reads the facts that Redis reports, and treats missing ones as no fault', () => {
  const info = [
    '# Server',
    'redis_version:7.2.4',
    'used_memory:1048576',
    'maxmemory:0',
    'maxmemory_policy:noeviction',
    'aof_enabled:1',
    'aof_last_write_status:err',
    'rdb_last_save_time:1790000000',
  ].join('\r\n');
  expect(parseRedisInfo(info, 0.123456, 'everysec')).toMatchObject({
    version: '7.2.4',
    roundTripMs: 0.123,
    usedMemoryBytes: 1_048_576,
    maxMemoryPolicy: 'noeviction',
    aofEnabled: true,
    aofFsync: 'everysec',
    aofLastWriteOk: false,
    rdbLastSaveOk: true,
    rdbLastSaveAt: 1_790_000_000_000,
    connectedClients: 0,
  });
  expect(parseRedisInfo('valkey_version:8.1.0\nredis_version:7.2.4', 1, null).version).toBe('8.1.0');
});
