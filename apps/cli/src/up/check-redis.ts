import {
  findForeignDataDir,
  groupKeys,
  OnewriterError,
  parseDataDirRecord,
  placeOf,
} from '@onewriter/protocol';
import { assertNoEviction, openRedis } from '@onewriter/runtime';

/**
 * Makes sure that the caller's Redis can be used, so that a wrong URL is one error line instead of three processes
 * that restart again and again.
 *
 * @throws OnewriterError MISCONFIGURED if it does not answer within 5 s, may evict keys, or has the group of another data
 *   directory.
 */
export async function checkRedis(url: string, group: string, dataDir: string): Promise<void> {
  const redis = await openRedis(url, { connectTimeoutMs: 5_000, commandTimeoutMs: 5_000 }).catch(cause => {
    throw new OnewriterError('MISCONFIGURED', cause.message, {}, cause);
  });
  try {
    await assertNoEviction(redis);
    const record = await redis.get(groupKeys(group).dataDir);
    const owner = parseDataDirRecord(record);
    const { host, path } = placeOf(dataDir);
    // In this very place only the file may be missing: the broker knows.
    if (owner?.host === host && owner.path === path) return;
    const trouble = findForeignDataDir(group, dataDir, record);
    if (trouble !== undefined) throw trouble;
  } finally {
    redis.disconnect();
  }
}
