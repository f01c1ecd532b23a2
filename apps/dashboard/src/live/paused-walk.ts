import { groupKeys, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** A tenant whose writes nobody applies until somebody resumes it. */
export interface PausedTenant {
  readonly tenant: string;
  readonly waitingJobs: number;
  /** Where it was parked by hand. */
  readonly aside: AsideNote | undefined;
}

/** Why somebody set a tenant aside. */
export interface AsideNote {
  readonly reason: string;
  /** The token's `sub`; '' where it has none. */
  readonly by: string;
  /** ISO time. */
  readonly since: string;
}

/** Tenants looked at per step. With ten thousand tenants a walk takes 100 s; those that were active last come first. */
const STEP = 500;
/** Paused tenants that are kept. */
const MAX_PAUSED = 1_000;

/**
 * Finds paused tenants, by whatever tool they were paused: a pause that was forgotten looks like a tenant that hangs.
 * Walks all tenants a bounded step at a time and looks at those it knows as paused, and those of interest, in each.
 */
export class PausedWalk {
  readonly #redis: Redis;
  readonly #group: string;
  #paused = new Map<string, PausedTenant>();
  #cursor = 0;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
  }

  /** As of the last step, by name. */
  get tenants(): readonly PausedTenant[] {
    return [...this.#paused.values()].sort((a, b) => (a.tenant < b.tenant ? -1 : 1));
  }

  /** Looks at the next tenants. @param ofInterest looked at, too. @throws Error of Redis */
  async step(ofInterest: readonly string[] = []): Promise<void> {
    const keys = groupKeys(this.#group);
    const [next, notes] = await Promise.all([
      this.#redis.zrevrange(keys.tenants, this.#cursor, this.#cursor + STEP - 1),
      this.#redis.hgetall(keys.aside),
    ]);
    this.#cursor = next.length < STEP ? 0 : this.#cursor + STEP;
    const tenants = [
      ...new Set([...next, ...this.#paused.keys(), ...Object.keys(notes), ...ofInterest]),
    ].filter(tenant => TENANT_ID_PATTERN.test(tenant));
    const pipeline = this.#redis.pipeline();
    for (const tenant of tenants) {
      const { prefix, name } = tenantQueue(this.#group, tenant);
      pipeline.hexists(`${prefix}:${name}:meta`, 'paused').llen(`${prefix}:${name}:wait`);
    }
    const replies = (await pipeline.exec()) ?? [];
    const paused = new Map<string, PausedTenant>();
    for (const [index, tenant] of tenants.entries()) {
      const [isPaused, waiting] = [replies[index * 2]?.[1], replies[index * 2 + 1]?.[1]];
      if (isPaused !== 1 || paused.size >= MAX_PAUSED) continue;
      paused.set(tenant, { tenant, waitingJobs: Number(waiting), aside: readAsideNote(notes[tenant]) });
    }
    this.#paused = paused;
  }
}

/** Reads a note of the group's hash; undefined where there is none or it is not one. */
export function readAsideNote(json: string | null | undefined): AsideNote | undefined {
  if (json === null || json === undefined) return undefined;
  try {
    const { reason, by, since } = JSON.parse(json) as AsideNote;
    return { reason: String(reason), by: String(by), since: String(since) };
  } catch {
    return undefined;
  }
}
