import { OnewriterError } from '@onewriter/protocol';
import { assertNoEviction } from '@onewriter/runtime';
import { Redis } from 'ioredis';

/**
 * Makes sure that the caller's Redis can be used, so that a wrong URL is told in one line instead of by three
 * processes that start again and again.
 *
 * @throws OnewriterError MISCONFIGURED if it does not answer within 5 s or may evict keys.
 */
export async function checkRedis(url: string): Promise<void> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: null,
    connectTimeout: 5_000,
    commandTimeout: 5_000,
  });
  let reason = '';
  redis.on('error', error => {
    reason = error.message;
  });
  try {
    await redis.connect();
    await redis.ping();
  } catch (cause) {
    redis.disconnect();
    const message = reason || (cause instanceof Error ? cause.message : String(cause));
    throw new OnewriterError('MISCONFIGURED', `Redis does not answer: ${message}`, {}, cause);
  }
  try {
    await assertNoEviction(redis);
  } finally {
    redis.disconnect();
  }
}
