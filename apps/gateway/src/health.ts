import { groupKeys } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** Whether writes can be served now. */
export interface HealthReport {
  readonly healthy: boolean;
  /** What is wrong, for people; empty when healthy. */
  readonly reasons: readonly string[];
}

/** Looks at what the gateway depends on; always answers by its deadline. */
export type HealthCheck = () => Promise<HealthReport>;

const TIMEOUT_MS = 1_000;

/**
 * A check that Redis answers and that a broker leads (its lease is there). Callers at the same time share one look,
 * so that probes, which need no token, cannot load Redis.
 */
export function createHealthCheck(redis: Redis, group: string): HealthCheck {
  const { lease } = groupKeys(group);
  let looking: Promise<HealthReport> | undefined;

  async function look(): Promise<HealthReport> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    });
    try {
      const leads = await Promise.race([redis.exists(lease), late]);
      return leads === 1
        ? { healthy: true, reasons: [] }
        : { healthy: false, reasons: ['No broker leads: writes wait in the queue.'] };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return { healthy: false, reasons: [`Redis does not answer: ${reason}`] };
    } finally {
      clearTimeout(timer);
    }
  }

  return () => {
    looking ??= look().finally(() => {
      looking = undefined;
    });
    return looking;
  };
}
