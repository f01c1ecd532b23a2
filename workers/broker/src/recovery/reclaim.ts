import { groupKeys, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { RedisLink } from '../queue/redis-link.ts';

/** Tenants asked about in one round trip. */
const CHUNK = 500;
/** Tenants whose jobs are reclaimed at a time. */
const MAX_AT_ONCE = 32;

/** Settings of {@link Reclaim}. */
export interface ReclaimOptions {
  readonly link: RedisLink;
  readonly group: string;
  /** Reclaims a tenant's active jobs. Resolves when they are known here; their data is not read yet. */
  readonly reclaim: (tenant: string) => Promise<void>;
  /** Resolves when there is room for more tenants with work. */
  readonly untilRoom: () => Promise<void>;
  /** Whether this process has a session of the tenant. */
  readonly isOpen: (tenant: string) => boolean;
}

/**
 * Reclaims the jobs that were active when the last leader died, of the tenants that it had open: those with the newest work
 * first, some at a time, while others are served. No job of a tenant is fetched before, because its queue belongs to the last
 * leader until then (queue-scripts.ts). A tenant that sends a notification meanwhile is reclaimed out of turn. ADR 0034.
 */
export class Reclaim {
  readonly #options: ReclaimOptions;
  readonly #open: string;
  #stopped = false;

  constructor(options: ReclaimOptions) {
    this.#options = options;
    this.#open = groupKeys(options.group).open;
  }

  /** Runs once. @returns false where it was stopped. */
  async run(): Promise<boolean> {
    const tenants = await this.#newestFirst();
    for (let start = 0; start < tenants.length; start += CHUNK) {
      const active = await this.#withActiveJobs(tenants.slice(start, start + CHUNK));
      let next = 0;
      const work = async () => {
        for (let tenant = active[next++]; tenant !== undefined && !this.#stopped; tenant = active[next++]) {
          await this.#options.untilRoom();
          await this.#options.reclaim(tenant);
        }
      };
      await Promise.all(Array.from({ length: MAX_AT_ONCE }, work));
      if (this.#stopped) return false;
    }
    return true;
  }

  /** Idempotent. */
  stop(): void {
    this.#stopped = true;
  }

  /** The tenants that the last leader had open. Keeps only their names, some 100 bytes each. */
  async #newestFirst(): Promise<readonly string[]> {
    const { link, group } = this.#options;
    const names = new Set<string>();
    for (let cursor = '0'; ; ) {
      const [next, some] = (await link.retryUntilDone(() =>
        link.call('SSCAN', this.#open, cursor, 'COUNT', CHUNK),
      )) as [string, string[]];
      for (const name of some) if (TENANT_ID_PATTERN.test(name)) names.add(name);
      if (next === '0' || this.#stopped) break;
      cursor = next;
    }
    const tenants = [...names];
    const activeAt = new Map<string, number>();
    for (let start = 0; start < tenants.length; start += CHUNK) {
      const chunk = tenants.slice(start, start + CHUNK);
      const scores = (await link.retryUntilDone(() =>
        link.call('ZMSCORE', groupKeys(group).tenants, ...chunk),
      )) as (string | number | null)[];
      for (const [index, tenant] of chunk.entries()) activeAt.set(tenant, Number(scores[index] ?? 0));
    }
    return tenants.sort((a, b) => activeAt.get(b)! - activeAt.get(a)!);
  }

  /** Those of `tenants` with active jobs. The others are removed from the open set, unless they are open here. */
  async #withActiveJobs(tenants: readonly string[]): Promise<readonly string[]> {
    const { link, group, isOpen } = this.#options;
    const counts = await link.retryUntilDone(() =>
      Promise.all(
        tenants.map(tenant => {
          const { prefix, name } = tenantQueue(group, tenant);
          return link.call('LLEN', `${prefix}:${name}:active`);
        }),
      ),
    );
    const idle = tenants.filter((tenant, index) => counts[index] === 0 && !isOpen(tenant));
    // Sent before any command that opens one of them later; one that stays in the set costs the next leader one look.
    if (idle.length > 0) link.call('SREM', this.#open, ...idle).catch(() => {});
    return tenants.filter((_, index) => Number(counts[index]) > 0);
  }
}
