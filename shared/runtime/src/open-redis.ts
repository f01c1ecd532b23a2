import { OnewriterError } from '@onewriter/protocol';
import { Redis } from 'ioredis';

/** Settings of {@link openRedis}. */
export interface OpenRedisOptions {
  /** Default: 3,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Default: 10,000. */
  readonly commandTimeoutMs?: number | undefined;
}

/**
 * A connection for one piece of work, such as a command of the command line: nothing is tried again, so that an outage
 * is told at once.
 * @throws OnewriterError QUEUE_UNAVAILABLE
 */
export async function openRedis(url: string, options: OpenRedisOptions = {}): Promise<Redis> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: null,
    connectTimeout: options.connectTimeoutMs ?? 3_000,
    commandTimeout: options.commandTimeoutMs ?? 10_000,
  });
  let reason = '';
  redis.on('error', error => {
    reason = error.message;
  });
  try {
    await redis.connect();
    return redis;
  } catch (cause) {
    redis.disconnect();
    const message = reason || (cause instanceof Error ? cause.message : String(cause));
    const sentence = `Redis does not answer: ${message.trim().replace(/\.$/, '')}.`;
    throw new OnewriterError('QUEUE_UNAVAILABLE', sentence, {}, cause);
  }
}
