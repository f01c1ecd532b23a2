import { groupKeys } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** What a tenant's clients need a setting for: strings in double quotes; schema changes that were made before. */
export type DropInUse = 'strings' | 'ddl';

const FLUSH_EVERY_MS = 2_000;
/** Tenants that are counted between two flushes. */
const MAX_TENANTS = 10_000;
/** All counts are forgotten where none was added for so long: then no client needs a setting. */
const KEPT_SECONDS = 30 * 24 * 60 * 60;

/** Counts by tenant, kept in Redis so that `onewriter doctor` can say whose clients are to be changed. */
export class DropInUses {
  readonly totals: Record<DropInUse, number> = { strings: 0, ddl: 0 };
  readonly #redis: Pick<Redis, 'pipeline'>;
  readonly #key: string;
  readonly #log: { warn(fields: object, message: string): void };
  readonly #timer: NodeJS.Timeout;
  #counts = new Map<string, number>();

  constructor(
    redis: Pick<Redis, 'pipeline'>,
    group: string,
    log: { warn(fields: object, message: string): void },
  ) {
    this.#redis = redis;
    this.#key = groupKeys(group).dropInUses;
    this.#log = log;
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS);
    this.#timer.unref();
  }

  count(use: DropInUse, tenant: string, times: number): void {
    this.totals[use] += times;
    const field = `${use}:${tenant}`;
    if (this.#counts.size >= MAX_TENANTS && !this.#counts.has(field)) return;
    this.#counts.set(field, (this.#counts.get(field) ?? 0) + times);
  }

  /** Adds what was counted. Where Redis does not answer, it is added with the next. */
  async flush(): Promise<void> {
    if (this.#counts.size === 0) return;
    const counts = this.#counts;
    this.#counts = new Map();
    const pipeline = this.#redis.pipeline();
    for (const [field, count] of counts) pipeline.hincrby(this.#key, field, count);
    pipeline.expire(this.#key, KEPT_SECONDS);
    try {
      const failure = (await pipeline.exec())?.find(([error]) => error !== null)?.[0];
      if (failure) throw failure;
    } catch (error) {
      for (const [field, count] of counts) this.#counts.set(field, (this.#counts.get(field) ?? 0) + count);
      this.#log.warn({ err: error }, 'What drop-in clients use could not be counted; tried again');
    }
  }

  /** Flushes for the last time. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}
