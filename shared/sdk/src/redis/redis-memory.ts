import type { Redis } from 'ioredis';
import type { SdkLogger } from '../types.ts';
import { now } from '../waits.ts';

/*
 * Producers stop before Redis is full, so that there is room for what the broker needs to work the queues off (ADR 0035):
 *
 *   used:  0 ─────────────── 80 % ─────────────────── 90 % ──────── 100 %
 *          the tenant's       less and less per tenant  none: QUEUE_FULL   Redis itself refuses
 *          bound in bytes     that has jobs waiting
 *
 * In between the tenants with a backlog are refused (TENANT_OVERLOADED), and those without one are not. Each client looks for
 * itself, while it sends: the broker may be away, and that is when queues grow.
 */

/** Redis is asked at most so often, and what it said counts as long as {@link FRESH_MS}. */
const LOOK_EVERY_MS = 1_000;
const FRESH_MS = 3_000;
/** After an INFO that failed it is not asked for so long: the right to may be missing. */
const LOOK_AGAIN_MS = 60_000;
/** Shares of the limit. */
const SHRINK_FROM = 0.8;
const FULL_FROM = 0.9;

/** What INFO says of the memory of Redis. */
export interface MemoryFacts {
  /** Memory in use, as Redis compares it with its limit. */
  readonly usedBytes: number;
  /** `maxmemory`; 0 where there is none. */
  readonly maxBytes: number;
  /** Memory of the machine; 0 if Redis does not report it. */
  readonly systemBytes: number;
}

/** Settings of a {@link RedisMemory}. */
export interface MemoryLimits {
  /** Bytes of jobs that may wait for one tenant. */
  readonly maxQueueBytes: number;
  /** What Redis may use where it has no `maxmemory`; 0: half of its machine's memory. */
  readonly maxRedisBytes: number;
}

/** Reads the answer to INFO memory. Source: https://redis.io/docs/latest/commands/info/. */
export function parseMemory(info: string): MemoryFacts {
  const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  return {
    // Source: Redis, evict.c (getMaxmemoryState).
    usedBytes: Math.max(0, field('used_memory') - field('mem_not_counted_for_evict')),
    maxBytes: field('maxmemory'),
    systemBytes: field('total_system_memory'),
  };
}

/** Share of its limit that Redis uses; 0 where there is no limit. */
export function usedShare({ usedBytes, maxBytes, systemBytes }: MemoryFacts, maxRedisBytes: number): number {
  const limit = maxBytes || maxRedisBytes || systemBytes / 2;
  return limit > 0 ? usedBytes / limit : 0;
}

/** Bytes that may wait for one tenant: fewer the fuller Redis is. @param share that Redis uses of its limit */
export function queueBytesAt(share: number, maxQueueBytes: number): number {
  if (share <= SHRINK_FROM) return maxQueueBytes;
  const left = Math.max(0, FULL_FROM - share) / (FULL_FROM - SHRINK_FROM);
  return Math.floor(maxQueueBytes * left);
}

/** How full Redis is, as last heard. */
export class RedisMemory {
  readonly #redis: Redis;
  readonly #limits: MemoryLimits;
  readonly #logger: SdkLogger;
  #share = 0;
  #heardAt = Number.NEGATIVE_INFINITY;
  #lookAt = Number.NEGATIVE_INFINITY;
  #looking = false;

  constructor(redis: Redis, limits: MemoryLimits, logger: SdkLogger) {
    this.#redis = redis;
    this.#limits = limits;
    this.#logger = logger;
  }

  /** Share of its limit that Redis uses; 0 where that is not known. */
  get share(): number {
    return now() - this.#heardAt < FRESH_MS ? this.#share : 0;
  }

  /** Whether no more jobs are to be sent. */
  get full(): boolean {
    return this.share >= FULL_FROM;
  }

  /** Bytes of jobs that may wait for one tenant now. */
  get maxQueueBytes(): number {
    return queueBytesAt(this.share, this.#limits.maxQueueBytes);
  }

  /** Asks Redis, if it was not asked lately; what it says counts from its answer on. */
  look(): void {
    const time = now();
    if (time < this.#lookAt || this.#looking || this.#redis.status !== 'ready') return;
    this.#looking = true;
    this.#lookAt = time + LOOK_EVERY_MS;
    this.#redis
      .info('memory')
      .then(info => {
        this.#share = usedShare(parseMemory(info), this.#limits.maxRedisBytes);
        this.#heardAt = now();
      })
      .catch((error: Error) => {
        // A connection that broke is no reason: it is asked again on the next one.
        if (error.name !== 'ReplyError') return;
        this.#lookAt = now() + LOOK_AGAIN_MS;
        this.#logger.warn(
          { err: error },
          'Redis does not say how full it is (INFO memory): writes are refused only when it is full',
        );
      })
      .finally(() => {
        this.#looking = false;
      });
  }
}
