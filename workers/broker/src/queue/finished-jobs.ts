import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, LIMITS, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { REMOVE_FINISHED } from './lua-scripts.ts';
import { defineScript, type RedisLink } from './redis-link.ts';

/*
 * Finished jobs are removed after LIMITS.keepFinishedMs, so that an idle tenant costs Redis only its `meta` (ADR 0035). A walk
 * over all tenants adds nothing to the path of a job, and it also finds the remains of a dead leader, an older version or an
 * outage of Redis. No key gets an expiry: any tool may put a pause into `meta`, which must last.
 */

/** Tenants asked about in one round trip. */
const CHUNK = 500;
/** Jobs that one call of the script removes: more would delay all other clients. */
const MAX_REMOVED = 64;

/** See remove-finished.lua. */
export const removeFinished = defineScript(5, REMOVE_FINISHED);

/** Removes old finished jobs of all tenants. */
export class FinishedJobs {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #log: Logger;
  readonly #keepMs: number;
  readonly #stopped = new AbortController();

  constructor(link: RedisLink, group: string, log: Logger, keepMs: number = LIMITS.keepFinishedMs) {
    this.#link = link;
    this.#group = group;
    this.#log = log;
    this.#keepMs = keepMs;
  }

  /** Walks at once and then every `intervalMs`, until {@link stop}. */
  async run(intervalMs: number = LIMITS.finishedLookMs): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        await this.#link.retryUntilDone(() => this.#walk());
      } catch (error) {
        if (signal.aborted) return;
        this.#log.error({ err: error }, 'Could not remove finished jobs; trying again');
      }
      await pause(intervalMs, undefined, { signal }).catch(() => {}); // stopped
    }
  }

  /** Idempotent. */
  stop(): void {
    this.#stopped.abort();
  }

  async #walk(): Promise<void> {
    const key = groupKeys(this.#group).tenants;
    for (let start = 0; !this.#stopped.signal.aborted; start += CHUNK) {
      const chunk = (await this.#link.call('ZRANGE', key, start, start + CHUNK - 1)) as string[];
      if (chunk.length === 0) return;
      const tenants = chunk.filter(tenant => TENANT_ID_PATTERN.test(tenant));
      const counts = await Promise.all(
        tenants.map(tenant => {
          const keys = this.#keys(tenant);
          return this.#link.call('EXISTS', `${keys}completed`, `${keys}failed`);
        }),
      );
      const kept = tenants.filter((_, index) => Number(counts[index]) > 0);
      await Promise.all(kept.map(tenant => this.#remove(tenant)));
    }
  }

  async #remove(tenant: string): Promise<void> {
    const keys = this.#keys(tenant);
    const names = ['completed', 'failed', 'meta', 'events', 'marker'].map(name => keys + name);
    let more: unknown = 1;
    while (more === 1 && !this.#stopped.signal.aborted) {
      const now = Date.now();
      const [from, to] = [now - this.#keepMs, now + this.#keepMs];
      more = await this.#link.run(removeFinished, [...names, keys, from, to, MAX_REMOVED]);
    }
  }

  #keys(tenant: string): string {
    const { prefix, name } = tenantQueue(this.#group, tenant);
    return `${prefix}:${name}:`;
  }
}
