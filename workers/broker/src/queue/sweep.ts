import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from './redis-link.ts';

/** Tenants asked about in one round trip. */
const CHUNK = 500;

/** A tenant with a queue that is not empty, and without a session that is awake. */
export interface ForgottenWork {
  readonly tenant: string;
  readonly waiting: number;
  readonly active: number;
}

/**
 * Reads the queues of all tenants ever seen and finds work whose notification was never sent, or was lost with the process
 * that popped it.
 */
export class Sweep {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  /** Tenants whose jobs the last sweep reported. */
  #reported = new Set<string>();
  #idleJobs = 0;

  constructor(link: RedisLink, group: string, log: Logger) {
    this.#link = link;
    this.#group = group;
    this.#log = log;
  }

  /** Jobs that two sweeps in a row found waiting: jobs of paused tenants. */
  get idleJobs(): number {
    return this.#idleJobs;
  }

  /** Sweeps at once and then every `intervalMs`, until {@link stop}. @param isAwake tenants to skip. */
  async run(
    intervalMs: number,
    isAwake: (tenant: string) => boolean,
    onFound: (work: ForgottenWork) => Promise<void>,
  ): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        await this.#link.retryUntilDone(() => this.#sweep(isAwake, onFound));
      } catch (error) {
        if (signal.aborted) return;
        this.#log.error({ err: error }, 'The sweep failed; trying again');
      }
      await pause(intervalMs, undefined, { signal }).catch(() => {}); // stopped
    }
  }

  /** Idempotent. */
  stop(): void {
    this.#stopped.abort();
  }

  async #sweep(
    isAwake: (tenant: string) => boolean,
    onFound: (work: ForgottenWork) => Promise<void>,
  ): Promise<void> {
    const key = groupKeys(this.#group).tenants;
    const reported = new Set<string>();
    let idleJobs = 0;
    for (let start = 0; !this.#stopped.signal.aborted; start += CHUNK) {
      const chunk = (await this.#link.call('ZRANGE', key, start, start + CHUNK - 1)) as string[];
      if (chunk.length === 0) break;
      const asleep = chunk.filter(tenant => TENANT_ID_PATTERN.test(tenant) && !isAwake(tenant));
      const lengths = await Promise.all(
        asleep.flatMap(tenant => {
          const { prefix, name } = tenantQueue(this.#group, tenant);
          return ['wait', 'active'].map(list => this.#link.call('LLEN', `${prefix}:${name}:${list}`));
        }),
      );
      for (const [index, tenant] of asleep.entries()) {
        const waiting = Number(lengths[2 * index]);
        const active = Number(lengths[2 * index + 1]);
        if ((waiting === 0 && active === 0) || isAwake(tenant)) continue;
        if (this.#reported.has(tenant)) idleJobs += waiting;
        reported.add(tenant);
        await onFound({ tenant, waiting, active });
      }
    }
    this.#reported = reported;
    this.#idleJobs = idleJobs;
  }
}
