import { OnewriterError } from '@onewriter/protocol';
import { Redis } from 'ioredis';
import type { Logger } from './logger.ts';

/** What may differ between connections. */
export interface RedisConnectionOptions {
  /** Attempts to reconnect before a command fails; null waits for ever. */
  readonly maxRetriesPerRequest?: number | null;
  /** A command without an answer by then fails. */
  readonly commandTimeout?: number;
}

/**
 * Options of a connection that answers requests of people and probes: a command fails when Redis is away instead
 * of waiting in memory.
 */
export const FAIL_FAST: RedisConnectionOptions = Object.freeze({
  maxRetriesPerRequest: 1,
  commandTimeout: 2_000,
});

/**
 * A connection of a consumer: it waits for Redis to come back for as long as it takes, with growing pauses up to
 * one second. Source: facts on `maxRetriesPerRequest`; producers fail fast instead.
 *
 * @param options overrides, see {@link FAIL_FAST}
 */
export function createRedis(url: string, log: Logger, options: RedisConnectionOptions = {}): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    retryStrategy: times => Math.min(50 * times, 1_000),
    ...options,
  });
  let reported = '';
  redis.on('error', error => {
    // One line per outage, not one per attempt.
    if (reported === error.message) return;
    reported = error.message;
    log.error({ err: error }, 'Redis connection failed; trying again until it is back');
  });
  redis.on('ready', () => {
    if (reported !== '') log.info('Redis connection is back');
    reported = '';
  });
  return redis;
}

/**
 * Refuses a Redis that may evict keys: it would lose queued writes without a word.
 * @throws OnewriterError MISCONFIGURED
 */
export async function assertNoEviction(redis: Redis): Promise<void> {
  const info = await redis.info('memory');
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy === 'noeviction') return;
  throw new OnewriterError(
    'MISCONFIGURED',
    `Redis has maxmemory-policy ${policy ?? 'unknown'} and could evict queued writes. ` +
      'Set it: redis-cli CONFIG SET maxmemory-policy noeviction (and in redis.conf).',
  );
}
