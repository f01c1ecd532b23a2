import { groupKeys, isDurability, SYNC_FIELD, TENANT_ID_PATTERN, tenantQueue } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from '../queue/redis-link.ts';
import type { ReplicaState } from './replica-state.ts';

/** Entries read in one round trip. */
const CHUNK = 500;

/** Brings the durabilities that people chose for tenants from Redis into the memory of the leader. */
export class Durabilities {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #state: Pick<ReplicaState, 'setMode' | 'modeOf'>;
  readonly #log: Logger;

  constructor(link: RedisLink, group: string, state: Pick<ReplicaState, 'setMode' | 'modeOf'>, log: Logger) {
    this.#link = link;
    this.#group = group;
    this.#state = state;
    this.#log = log;
  }

  /**
   * Reads all of them: only tenants that differ from the settings are there. Again where notifications may have been lost; then one that
   * is missing stays as it was: Redis may have lost its data.
   */
  async load(): Promise<void> {
    const key = groupKeys(this.#group).durabilities;
    for (let cursor = '0'; ; ) {
      const [next, fields] = (await this.#link.retryUntilDone(() =>
        this.#link.call('HSCAN', key, cursor, 'COUNT', CHUNK),
      )) as [string, string[]];
      for (let index = 0; index < fields.length; index += 2) this.#set(fields[index]!, fields[index + 1]);
      if (next === '0') return;
      cursor = next;
    }
  }

  /** A person changed the tenant's. @throws Error of Redis */
  async onNotified(tenant: string): Promise<void> {
    const link = this.#link;
    const key = groupKeys(this.#group).durabilities;
    const mode = (await link.retryUntilDone(() => link.call('HGET', key, tenant))) as string | null;
    this.#set(tenant, mode ?? undefined);
    const { prefix, name } = tenantQueue(this.#group, tenant);
    await link.retryUntilDone(() =>
      link.call('HSET', `${prefix}:${name}:meta`, SYNC_FIELD, this.#state.modeOf(tenant) === 'sync' ? 1 : 0),
    );
    this.#log.info({ tenant, durability: mode ?? 'default' }, 'Durability changed');
  }

  #set(tenant: string, mode: string | undefined): void {
    if (!TENANT_ID_PATTERN.test(tenant)) return;
    if (mode === undefined || isDurability(mode)) this.#state.setMode(tenant, mode);
    else this.#log.warn({ tenant, durability: mode.slice(0, 20) }, 'Unknown durability; the default holds');
  }
}
