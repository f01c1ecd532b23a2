import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, LIMITS, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
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

/**
 * Removes old finished jobs, and notes the newest of them that the ledger must have, for `onewriter check`. A time far ahead
 * comes from another leader's clock: such jobs are removed, too. With the last job, the remains of BullMQ's own producers are
 * removed (events, marker), but not `id`: a number that is issued again would look like a job that the ledger knows.
 * KEYS completed, failed, meta, events, marker · ARGV prefix, oldest kept, newest kept, how many at most
 * Returns 1 where more is left to remove.
 */
export const removeFinished = defineScript(
  5,
  `
local most = tonumber(ARGV[4])
local removed = 0
local newest, at
local function remove(finished, from, to)
  if removed >= most then return end
  local old = redis.call('ZRANGEBYSCORE', finished, from, to, 'WITHSCORES', 'LIMIT', 0, most - removed)
  for i = 1, #old, 2 do
    redis.call('DEL', ARGV[1] .. old[i], ARGV[1] .. old[i] .. ':logs')
    redis.call('ZREM', finished, old[i])
    removed = removed + 1
    if finished == KEYS[1] and string.sub(old[i], 1, 2) == 'w-' and not (at and tonumber(at) > tonumber(old[i + 1])) then
      newest, at = old[i], old[i + 1]
    end
  end
end
for n = 1, 2 do
  remove(KEYS[n], '-inf', '(' .. ARGV[2])
  remove(KEYS[n], '(' .. ARGV[3], '+inf')
end
if newest then redis.call('HSET', KEYS[3], 'onewriter.finished', newest .. ' ' .. at) end
if removed > 0 and redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then redis.call('DEL', KEYS[4], KEYS[5]) end
return removed >= most and 1 or 0`,
);

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
