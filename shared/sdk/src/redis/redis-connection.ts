import { backOffMs, OnewriterError, parseSentinelUrl, type RedisGuard } from '@onewriter/protocol';
import { Redis, type RedisOptions } from 'ioredis';
import type { SdkLogger } from '../types.ts';

/** Times of the connections to Redis, in milliseconds. */
export const REDIS_TIMES = Object.freeze({
  /** A connection attempt, and the first answer at connect(). */
  connectTimeoutMs: 5_000,
  /**
   * A connection on which an answer is due and nothing comes for this long is closed and made again: otherwise a host
   * that vanished would be noticed after many minutes.
   */
  silenceTimeoutMs: 5_000,
  /** Longest pause between two attempts to connect. */
  maxReconnectPauseMs: 1_000,
  /** Between two looks whether Redis has loaded its data; ioredis would wait for as long as Redis guesses, up to 10 s. */
  loadingLookMs: 250,
});

const COMMON = {
  lazyConnect: true,
  connectTimeout: REDIS_TIMES.connectTimeoutMs,
  retryStrategy: (times: number) => backOffMs(times, { firstMs: 50, maxMs: REDIS_TIMES.maxReconnectPauseMs }),
  enableReadyCheck: true,
  maxLoadingRetryTime: REDIS_TIMES.loadingLookMs,
};

/**
 * The connection for commands, not connected yet. A command on it is sent at once or not at all: nothing is queued
 * or sent again implicitly, so what was certainly not sent differs from what may have been sent.
 */
export function createCommandConnection(redis: string | Redis, guard: RedisGuard): Redis {
  return open(redis, guard, {
    ...COMMON,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    socketTimeout: REDIS_TIMES.silenceTimeoutMs,
  });
}

/** A model for the blocking connection, never connected itself: BullMQ makes a copy of its own. */
export function createBlockingModel(redis: string | Redis, guard: RedisGuard): Redis {
  return open(redis, guard, { ...COMMON, enableOfflineQueue: true, maxRetriesPerRequest: null });
}

function open(redis: string | Redis, guard: RedisGuard, options: Omit<RedisOptions, 'replyMapping'>): Redis {
  if (typeof redis !== 'string') return guard.attach(redis.duplicate(options));
  const sentinel = parseSentinelUrl(redis);
  if (sentinel === undefined) return guard.attach(new Redis(redis, options));
  return guard.attach(new Redis({ ...options, ...sentinel, sentinels: [...sentinel.sentinels] }));
}

/** Logs one line per outage, and one when it is over. */
export function logOutages(redis: Redis, logger: SdkLogger): void {
  let reported = false;
  redis.on('error', (error: Error) => {
    if (reported) return;
    reported = true;
    logger.warn({ err: error }, 'Redis is not reachable; trying again until it is');
  });
  redis.on('ready', () => {
    if (reported) logger.info?.({}, 'Redis is reachable again');
    reported = false;
  });
}

/**
 * Makes the first connection.
 * @throws OnewriterError QUEUE_UNAVAILABLE, MISCONFIGURED (Redis refuses the credentials, or runs in cluster mode)
 */
export async function connectRedis(redis: Redis, guard: RedisGuard, timeoutMs: number): Promise<void> {
  let lastError: Error | undefined;
  const remember = (error: Error) => {
    lastError = error;
  };
  redis.on('error', remember);
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`no answer in ${timeoutMs} ms`);
      timer = setTimeout(() => reject(error), timeoutMs);
    });
    await Promise.race([redis.connect(), late]);
    redis.off('error', remember);
  } catch (error) {
    const cause = lastError ?? error;
    const message = cause instanceof Error ? cause.message : String(cause);
    redis.disconnect();
    if (guard.refusal !== undefined) throw guard.refusal;
    const refused = /NOAUTH|WRONGPASS|NOPERM/.test(message);
    throw new OnewriterError(
      refused ? 'MISCONFIGURED' : 'QUEUE_UNAVAILABLE',
      `Cannot connect to Redis: ${message}`,
      {},
      cause,
    );
  } finally {
    // Where it failed the listener stays: a connection that is given up may still have an error, which ioredis would print.
    clearTimeout(timer);
  }
}
