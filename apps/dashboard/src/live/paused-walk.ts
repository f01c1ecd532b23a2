import { groupKeys, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import { readHolders, type TenantHolder } from '@onewriter/runtime';
import type { Redis } from 'ioredis';

/** A tenant whose writes are not applied until its last holder ends: a person resumes it, a restore is done. */
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
const MAX_PAUSED = 1_000;

/**
 * Which tenants are paused or have holds (holds/hold-scripts.ts of the runtime), and how many jobs wait.
 * KEYS meta and wait of each tenant
 * Returns index and jobs of each of those.
 */
const FIND_STILL = `
local found = {}
for i = 1, #KEYS, 2 do
  local meta = redis.call('HMGET', KEYS[i], 'paused', 'onewriter.holds')
  if meta[1] or meta[2] then
    found[#found + 1] = (i - 1) / 2
    found[#found + 1] = redis.call('LLEN', KEYS[i + 1])
  end
end
return found`;

/**
 * Finds tenants that are kept still, by whatever tool: a pause that was forgotten looks like a tenant that hangs.
 * Walks all tenants, those that were active last first, in steps of bounded time; each step looks again at those it knows
 * as paused, and at those of interest.
 */
export class PausedWalk {
  readonly #redis: Redis;
  readonly #group: string;
  #paused = new Map<string, PausedTenant>();
  #cursor = 0;
  #total = 0;
  #complete = false;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
  }

  /** As of the last step, by name. */
  get tenants(): readonly PausedTenant[] {
    return [...this.#paused.values()].sort((a, b) => (a.tenant < b.tenant ? -1 : 1));
  }

  get progress(): WalkProgress {
    return { looked: this.#cursor, total: this.#total, complete: this.#complete };
  }

  /** Looks at the next tenants. @param ofInterest looked at, too. @throws Error of Redis */
  async step(ofInterest: readonly string[] = []): Promise<void> {
    const until = performance.now() + STEP_MS;
    const keys = groupKeys(this.#group);
    const [total, notes] = await Promise.all([
      this.#redis.zcard(keys.tenants),
      this.#redis.hgetall(keys.aside),
    ]);
    this.#total = total;
    const paused = new Map<string, PausedTenant>();
    const known = [...new Set([...this.#paused.keys(), ...Object.keys(notes), ...ofInterest])];
    for (let from = 0; from < known.length; from += CHUNK) {
      await this.#look(known.slice(from, from + CHUNK), notes, paused);
    }
    let ended = false;
    do {
      const next = await this.#redis.zrevrange(keys.tenants, this.#cursor, this.#cursor + CHUNK - 1);
      await this.#look(next, notes, paused);
      ended = next.length < CHUNK;
      this.#cursor = ended ? 0 : this.#cursor + CHUNK;
      this.#complete ||= ended;
    } while (!ended && performance.now() < until);
    this.#paused = paused;
  }

  async #look(
    names: readonly string[],
    notes: Readonly<Record<string, string>>,
    paused: Map<string, PausedTenant>,
  ): Promise<void> {
    const tenants = names.filter(tenant => TENANT_ID_PATTERN.test(tenant));
    if (tenants.length === 0) return;
    const keys = tenants.flatMap(tenant => {
      const { prefix, name } = tenantQueue(this.#group, tenant);
      return [`${prefix}:${name}:meta`, `${prefix}:${name}:wait`];
    });
    const found = (await this.#redis.eval(FIND_STILL, keys.length, ...keys)) as number[];
    const still = found.filter((_, at) => at % 2 === 0).map(index => tenants[index]!);
    const allHolders = await readHolders(this.#redis, this.#group, still);
    for (const [index, tenant] of still.entries()) {
      // A hold may have run out, and be counted still.
      const holders = allHolders[index]!;
      if (holders.length === 0 || paused.size >= MAX_PAUSED) continue;
      const aside = isPaused(holders) ? readAsideNote(notes[tenant]) : undefined;
      paused.set(tenant, { tenant, waitingJobs: found[index * 2 + 1]!, holders, aside });
    }
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
