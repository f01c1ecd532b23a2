import { groupKeys } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** A page of names. */
export interface NamePage {
  readonly names: readonly string[];
  /** How many there are in all. */
  readonly total: number;
}

/** Names are read at most this often, however many people search: with tens of thousands it is a megabyte. */
const FRESH_MS = 2_000;

/** Finds tenants by a part of their name, those that were active last first. */
export class TenantSearch {
  readonly #redis: Redis;
  readonly #group: string;
  #names: Promise<readonly string[]> | undefined;
  #until = 0;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
  }

  /** @param part of the name; '' finds all @throws Error of Redis */
  async find(part: string, skip: number, count: number): Promise<NamePage> {
    const { tenants } = groupKeys(this.#group);
    if (part === '') {
      const [names, total] = await Promise.all([
        this.#redis.zrevrange(tenants, skip, skip + count - 1),
        this.#redis.zcard(tenants),
      ]);
      return { names, total };
    }
    const found = (await this.#all()).filter(name => name.includes(part));
    return { names: found.slice(skip, skip + count), total: found.length };
  }

  #all(): Promise<readonly string[]> {
    if (this.#names === undefined || performance.now() > this.#until) {
      this.#until = performance.now() + FRESH_MS;
      this.#names = this.#redis.zrevrange(groupKeys(this.#group).tenants, 0, -1);
      this.#names.catch(() => {
        this.#until = 0;
      });
    }
    return this.#names;
  }
}
