import { OnewriterError, RedisGuard } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { newRedis } from './new-redis.ts';

/** Settings of {@link openRedis}. */
export interface OpenRedisOptions {
  /** Default: 3,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Default: 10,000. */
  readonly commandTimeoutMs?: number | undefined;
  /** Also a replica or a cluster, to look at it. Default: false. */
  readonly anyServer?: boolean | undefined;
}

/** What is wrong is thrown. */
const SILENT = Object.freeze({ warn: () => {}, error: () => {} });

/**
 * A connection for one piece of work, such as a command of the command line: nothing is tried again, so that an outage
 * is reported at once.
 * @throws OnewriterError QUEUE_UNAVAILABLE; MISCONFIGURED (cluster mode; the URL of the Sentinels)
 */
export async function openRedis(url: string, options: OpenRedisOptions = {}): Promise<Redis> {
  const guard = options.anyServer ? undefined : new RedisGuard(SILENT);
  const connectTimeout = options.connectTimeoutMs ?? 3_000;
  const redis = newRedis(
    url,
    {
      lazyConnect: true,
      retryStrategy: null,
      sentinelRetryStrategy: () => null,
      connectTimeout,
      // For the first command, which is part of connecting: a stopped server still accepts connections.
      commandTimeout: connectTimeout,
    },
    guard,
  );
  let reason = '';
  redis.on('error', error => {
    reason = error.message;
  });
  try {
    await redis.connect();
    redis.options.commandTimeout = options.commandTimeoutMs ?? 10_000;
    return redis;
  } catch (cause) {
    redis.disconnect();
    if (guard?.refusal !== undefined) throw guard.refusal;
    const message = reason || (cause instanceof Error ? cause.message : String(cause));
    const sentence = `Redis does not answer: ${message.trim().replace(/\.$/, '')}.`;
    throw new OnewriterError('QUEUE_UNAVAILABLE', sentence, {}, cause);
  }
}
