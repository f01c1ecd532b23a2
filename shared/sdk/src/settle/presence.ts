import { LIMITS, presenceKey } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

const BEATS_PER_TTL = 4;

/**
 * Says that this client is there, as long as it is: the broker begins no interactive transaction for a client that is gone,
 * and keeps none open. Costs nothing before the first one.
 */
export class Presence {
  readonly #redis: Redis;
  readonly #key: string;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param redis the connection on which jobs are sent: the first beat is there before the job. */
  constructor(redis: Redis, group: string, clientId: string) {
    this.#redis = redis;
    this.#key = presenceKey(group, clientId);
  }

  /** From now on. */
  keep(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#beat();
    this.#timer = setInterval(() => this.#beat(), LIMITS.presenceTtlMs / BEATS_PER_TTL).unref();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#redis.del(this.#key).catch(() => {}); // it expires
  }

  #beat(): void {
    // One that fails is made up for by the next.
    this.#redis.set(this.#key, '1', 'PX', LIMITS.presenceTtlMs).catch(() => {});
  }
}
