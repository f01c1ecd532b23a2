import { groupKeys, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import { readHolders, type TenantHolder } from '@onewriter/runtime';
import type { Redis } from 'ioredis';

/** A tenant whose writes nobody applies until its last holder lets go: somebody resumes it, a restore ends. */
export interface PausedTenant {
  readonly tenant: string;
  readonly waitingJobs: number;
  /** Who keeps it still; at least one. */
  readonly holders: readonly TenantHolder[];
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
 * Finds tenants that are kept still, by whatever tool: a pause that was forgotten looks like a tenant that hangs.
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
      pipeline.llen(`${prefix}:${name}:wait`);
    }
    const [replies, allHolders] = await Promise.all([
      pipeline.exec(),
      readHolders(this.#redis, this.#group, tenants),
    ]);
    const paused = new Map<string, PausedTenant>();
    for (const [index, tenant] of tenants.entries()) {
      const holders = allHolders[index]!;
      if (holders.length === 0 || paused.size >= MAX_PAUSED) continue;
      const aside = isPaused(holders) ? readAsideNote(notes[tenant]) : undefined;
      paused.set(tenant, { tenant, waitingJobs: Number(replies?.[index]?.[1]), holders, aside });
    }
    this.#paused = paused;
  }
}

/** Whether a person is among the holders: nobody else's hold waits for a person. */
export function isPaused(holders: readonly TenantHolder[]): boolean {
  return holders.some(({ expiresAt }) => expiresAt === null);
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
