import { parseSentinelUrl, quietReadyCheck, type RedisGuard } from '@onewriter/protocol';
import { Redis, type RedisOptions } from 'ioredis';

/**
 * A connection to the Redis that a URL names, or to the primary that its Sentinels name.
 * @param guard keeps it off replicas and clusters; undefined: any server will do
 * @throws OnewriterError MISCONFIGURED (the URL lists Sentinels and cannot be read)
 */
export function newRedis(
  url: string,
  options: Omit<RedisOptions, 'replyMapping'>,
  guard: RedisGuard | undefined,
): Redis {
  const sentinel = parseSentinelUrl(url);
  const redis =
    sentinel === undefined
      ? new Redis(url, options)
      : new Redis({ ...options, ...sentinel, sentinels: [...sentinel.sentinels] });
  return guard === undefined ? quietReadyCheck(redis) : guard.attach(redis);
}
