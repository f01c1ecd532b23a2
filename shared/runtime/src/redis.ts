import { backOffMs, explainReply, OnewriterError, RedisGuard } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { Logger } from './logger.ts';
import { newRedis } from './new-redis.ts';

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

/** Pause between two looks whether Redis has loaded its data; ioredis would wait for as long as Redis guesses, up to 10 s. */
const LOADING_LOOK_MS = 250;

/**
 * A connection of a consumer: it waits for Redis to come back for as long as it takes, with growing pauses up to
 * one second. Source: facts on `maxRetriesPerRequest`; producers fail fast instead.
 *
 * @param options overrides, see {@link FAIL_FAST}
 */
export function createRedis(url: string, log: Logger, options: RedisConnectionOptions = {}): Redis {
  const guard = new RedisGuard(log);
  const redis = newRedis(
    url,
    {
      maxRetriesPerRequest: null,
      enableReadyCheck: true,
      maxLoadingRetryTime: LOADING_LOOK_MS,
      retryStrategy: times => backOffMs(times, { firstMs: 50, maxMs: 1_000 }),
      ...options,
    },
    guard,
  );
  guards.set(redis, guard);
  watchRole(redis);
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

const guards = new WeakMap<Redis, RedisGuard>();
/** A process that only reads would not notice that its server became a replica. */
const LOOK_AT_ROLE_EVERY_MS = 5_000;

/** What is wrong with the server of a connection made by {@link createRedis}; undefined where nothing is known to be. */
export function redisRefusal(redis: Redis): OnewriterError | undefined {
  return guards.get(redis)?.refusal;
}

function watchRole(redis: Redis): void {
  const timer = setInterval(async () => {
    if (redis.status !== 'ready') return;
    // Without an answer, or without the right to ask, the other commands report the problem.
    const info = await redis.info('replication').catch(() => '');
    if (/^role:(?!master)/m.test(info) && redis.status === 'ready') redis.disconnect(true);
  }, LOOK_AT_ROLE_EVERY_MS).unref();
  redis.on('end', () => clearInterval(timer));
}

/**
 * Refuses a Redis that may evict keys: it would lose queued writes without a word.
 * @throws OnewriterError MISCONFIGURED
 */
export async function assertNoEviction(redis: Redis): Promise<void> {
  const info = await redis.info('memory').catch(error => {
    throw explainReply(error) ?? error;
  });
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy === 'noeviction') return;
  throw new OnewriterError(
    'MISCONFIGURED',
    `Redis has maxmemory-policy ${policy ?? 'unknown'} and could evict queued writes. ` +
      'Set it: redis-cli CONFIG SET maxmemory-policy noeviction (and in redis.conf).',
  );
}
