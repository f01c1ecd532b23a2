import { groupKeys, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from './redis-link.ts';

/** Why a tenant cannot be written, as JSON in the group's hash. */
export interface ParkedRecord {
  readonly code: string;
  readonly message: string;
  /** ISO time. */
  readonly since: string;
}

/** Tenants whose file refuses writes, where people can see them. It is tried again, with growing pauses. */
export class Parked {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #log: Logger;
  /** Tenant to the code of its error. */
  readonly #codes = new Map<string, string>();

  constructor(link: RedisLink, group: string, log: Logger) {
    this.#link = link;
    this.#key = groupKeys(group).parked;
    this.#log = log;
  }

  get size(): number {
    return this.#codes.size;
  }

  /** Reads who was parked under a predecessor: the first batch that commits releases. */
  async load(): Promise<void> {
    const records = (await this.#link.insist(() => this.#link.redis.hgetall(this.#key))) as Record<
      string,
      string
    >;
    for (const [tenant, json] of Object.entries(records)) {
      this.#codes.set(tenant, (JSON.parse(json) as ParkedRecord).code);
    }
  }

  /** Notes that a tenant's file refuses writes. */
  park(tenant: string, error: WireError): void {
    if (this.#codes.get(tenant) === error.code) return;
    this.#codes.set(tenant, error.code);
    this.#log.error({ tenant, code: error.code }, `Tenant parked: ${error.message} It is tried again.`);
    const record: ParkedRecord = {
      code: error.code,
      message: error.message,
      since: new Date().toISOString(),
    };
    this.#save(this.#link.insist(() => this.#link.call('HSET', this.#key, tenant, JSON.stringify(record))));
  }

  /** Notes that a tenant's file takes writes. Costs nothing where it was not parked. */
  release(tenant: string): void {
    if (this.#codes.size === 0 || !this.#codes.delete(tenant)) return;
    this.#log.info({ tenant }, 'The tenant is written again');
    this.#save(this.#link.insist(() => this.#link.call('HDEL', this.#key, tenant)));
  }

  #save(saving: Promise<unknown>): void {
    saving.catch(error => this.#log.warn({ err: error }, 'The list of parked tenants could not be saved'));
  }
}
