import { OnewriterError } from '@onewriter/protocol';
import { assertNoEviction, openRedis } from '@onewriter/runtime';

/**
 * Makes sure that the caller's Redis can be used, so that a wrong URL is told in one line instead of by three
 * processes that start again and again.
 *
 * @throws OnewriterError MISCONFIGURED if it does not answer within 5 s or may evict keys.
 */
export async function checkRedis(url: string): Promise<void> {
  const redis = await openRedis(url, { connectTimeoutMs: 5_000, commandTimeoutMs: 5_000 }).catch(cause => {
    throw new OnewriterError('MISCONFIGURED', cause.message, {}, cause);
  });
  try {
    await assertNoEviction(redis);
  } finally {
    redis.disconnect();
  }
}
