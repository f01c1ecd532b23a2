import { groupKeys } from '@onewriter/protocol';
import { checkDataDir, checkRedis, createReadiness, redisRefusal } from '@onewriter/runtime';
import type { Redis } from 'ioredis';

/** Whether writes can be served now. */
export interface HealthReport {
  readonly healthy: boolean;
  /** What is wrong, for people; empty when healthy. */
  readonly reasons: readonly string[];
  /** By name of the check: `ok`, or what is wrong. */
  readonly checks: Readonly<Record<string, string>>;
}

/** Looks at what the gateway depends on; always answers by its deadline. */
export type HealthCheck = () => Promise<HealthReport>;

/** A check that Redis answers, that a broker leads (its lease is there), and that the files can be read. */
export function createHealthCheck(redis: Redis, group: string, dataDir: string): HealthCheck {
  const { lease } = groupKeys(group);
  const look = createReadiness({
    redis: () =>
      checkRedis(
        () => redis.ping(),
        () => redisRefusal(redis),
      ),
    broker: async () => {
      let leases: number | undefined;
      // Without Redis nothing is known of the broker; the check above says so.
      await checkRedis(async () => {
        leases = await redis.exists(lease);
      });
      return leases === 0 ? 'No broker leads: writes wait in the queue.' : undefined;
    },
    dataDir: () => checkDataDir(dataDir, 'read'),
  });
  return async () => {
    const { status, reasons, checks } = await look();
    return { healthy: status === 'ready', reasons, checks };
  };
}
