import { registerMetrics, singleMetric } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { collectDefaultMetrics, Registry } from 'prom-client';

export type { Registry } from 'prom-client';

/** The version of this repository's packages; they are released together. */
export const ONEWRITER_VERSION = '0.1.0';

/**
 * A registry with what every process shows: `onewriter_build_info`, whether Redis is reachable, and prom-client's own
 * (`process_…`, `nodejs_…`, the event loop's delay among them).
 */
export function createProcessRegistry(redis: Pick<Redis, 'status'>): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  registerMetrics(registry, [
    {
      name: 'onewriter_build_info',
      help: 'Always 1; its labels name the running version.',
      type: 'gauge',
      read: () => [{ value: 1, labels: { version: ONEWRITER_VERSION, node: process.versions.node } }],
    },
    singleMetric('gauge', 'onewriter_redis_up', 'Whether there is a connection to Redis.', () =>
      Number(redis.status === 'ready'),
    ),
  ]);
  return registry;
}
