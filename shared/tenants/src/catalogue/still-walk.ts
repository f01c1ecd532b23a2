import { groupKeys, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { readHolders, type TenantHolder } from '../holders/index.ts';
import { FIND_STILL } from './lua-scripts.ts';

/** A tenant whose writes are not applied until its last holder ends: a person resumes it, a restore is done. */
export interface StillTenant {
  readonly tenant: string;
  readonly waitingJobs: number;
  /** Who keeps it still; at least one. */
  readonly holders: readonly TenantHolder[];
}

/** How far the walk through all tenants is. */
export interface WalkProgress {
  /** Tenants looked at since it began. */
  readonly looked: number;
  /** Tenants that the group has. */
  readonly total: number;
  /** Whether all tenants were looked at at least once. */
  readonly complete: boolean;
}

/** Tenants per call of Redis, which does nothing else meanwhile: under a millisecond. */
const CHUNK = 1_000;
/** A step ends after this, or at the last tenant. 100,000 tenants take about 2 s in all. */
const STEP_MS = 200;
/** Paused tenants that are kept. */
const MAX_STILL = 1_000;

/**
 * Finds tenants that are kept still, by whatever tool: a pause that was forgotten looks like a tenant that hangs.
 * Walks all tenants, those that were active last first, in steps of bounded time; each step looks again at those it knows
 * as paused, and at those of interest.
 */
export class StillWalk {
  readonly #redis: Redis;
  readonly #group: string;
  #still = new Map<string, StillTenant>();
  #cursor = 0;
  #total = 0;
  #complete = false;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
  }

  /** As of the last step, by name. */
  get tenants(): readonly StillTenant[] {
    return [...this.#still.values()].sort((a, b) => (a.tenant < b.tenant ? -1 : 1));
  }

  get progress(): WalkProgress {
    return { looked: this.#cursor, total: this.#total, complete: this.#complete };
  }

  /** Looks at the next tenants. @param ofInterest looked at, too. @throws Error of Redis */
  async step(ofInterest: readonly string[] = []): Promise<void> {
    const until = performance.now() + STEP_MS;
    const keys = groupKeys(this.#group);
    this.#total = await this.#redis.zcard(keys.tenants);
    const found = new Map<string, StillTenant>();
    const known = [...new Set([...this.#still.keys(), ...ofInterest])];
    for (let from = 0; from < known.length; from += CHUNK) {
      await this.#look(known.slice(from, from + CHUNK), found);
    }
    let ended = false;
    do {
      const next = await this.#redis.zrevrange(keys.tenants, this.#cursor, this.#cursor + CHUNK - 1);
      await this.#look(next, found);
      ended = next.length < CHUNK;
      this.#cursor = ended ? 0 : this.#cursor + CHUNK;
      this.#complete ||= ended;
    } while (!ended && performance.now() < until);
    this.#still = found;
  }

  async #look(candidates: readonly string[], still: Map<string, StillTenant>): Promise<void> {
    const tenants = candidates.filter(tenant => TENANT_ID_PATTERN.test(tenant));
    if (tenants.length === 0) return;
    const keys = tenants.flatMap(tenant => {
      const { prefix, name } = tenantQueue(this.#group, tenant);
      return [`${prefix}:${name}:meta`, `${prefix}:${name}:wait`];
    });
    const found = (await this.#redis.eval(FIND_STILL, keys.length, ...keys)) as number[];
    const names = found.filter((_, at) => at % 2 === 0).map(index => tenants[index]!);
    const allHolders = await readHolders(this.#redis, this.#group, names);
    for (const [index, tenant] of names.entries()) {
      // A hold may have run out, and be counted still.
      const holders = allHolders[index]!;
      if (holders.length === 0 || still.size >= MAX_STILL) continue;
      still.set(tenant, { tenant, waitingJobs: found[index * 2 + 1]!, holders });
    }
  }
}
