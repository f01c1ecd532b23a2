import { setTimeout as pause } from 'node:timers/promises';
import {
  BRANCH_REQUEST_MS,
  type BranchAnswer,
  type BranchRequest,
  branchNotification,
  branchRequestKey,
  groupKeys,
  OnewriterError,
  uuidv7,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';

const TIMEOUT_MS = 20_000;
const POLL_MS = 25;
const NOTIFY_EVERY_MS = 1_000;

/**
 * Has the leader make a branch. The caller holds the new tenant.
 * @throws OnewriterError REPLICA_UNAVAILABLE where no answer comes in time: the branch may be there later; Error of Redis
 */
export async function askBranch(
  redis: Redis,
  group: string,
  tenant: string,
  request: Omit<BranchRequest, 'id' | 'answer'>,
  timeoutMs: number = TIMEOUT_MS,
): Promise<BranchAnswer> {
  const key = branchRequestKey(group, tenant);
  const id = uuidv7();
  const asked: BranchRequest = { ...request, id };
  await redis.set(key, JSON.stringify(asked), 'PX', BRANCH_REQUEST_MS);
  const deadline = performance.now() + timeoutMs;
  let notifiedAt = Number.NEGATIVE_INFINITY;
  while (performance.now() < deadline) {
    if (performance.now() - notifiedAt >= NOTIFY_EVERY_MS) {
      await redis.zadd(groupKeys(group).notifications, 'NX', Date.now(), branchNotification(tenant));
      notifiedAt = performance.now();
    }
    const now = JSON.parse((await redis.get(key)) ?? 'null') as BranchRequest | null;
    if (now?.id === id && now.answer !== undefined) {
      await redis.del(key);
      return now.answer;
    }
    await pause(POLL_MS);
  }
  await redis.del(key);
  const message = `The broker did not store the branch ${tenant} in time; it may be there later.`;
  throw new OnewriterError('REPLICA_UNAVAILABLE', message, { tenant, reason: 'not stored yet' });
}
