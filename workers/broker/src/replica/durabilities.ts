import {
  type Durability,
  groupKeys,
  isDurability,
  SYNC_FIELD,
  TENANT_ID_PATTERN,
  tenantQueue,
} from '@onewriter/protocol';
import type { ChosenDurabilities } from '@onewriter/replicator';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from '../queue/redis-link.ts';
import type { ReplicaState } from './replica-state.ts';

/** Entries read in one round trip. */
const CHUNK = 500;

/** A field that is there where Redis has what people chose; without it Redis is new, or lost its data. No tenant has this name. */
const MARK = '*';

/** Dependencies of {@link Durabilities}. */
export interface DurabilitiesOptions {
  readonly link: RedisLink;
  readonly group: string;
  readonly state: Pick<ReplicaState, 'setMode' | 'modeOf'>;
  /** Keeps them off the machine; undefined: there is no store. */
  readonly shipping: { readonly storeDurabilities: (tenants: ChosenDurabilities) => void } | undefined;
  readonly log: Logger;
}

/** Brings the durabilities that people chose for tenants from Redis into the memory of the leader. */
export class Durabilities {
  readonly #options: DurabilitiesOptions;
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #chosen = new Map<string, Durability>();
  /** What the store has is known: from here on it gets what is chosen. */
  #isAdopted = false;

  constructor(options: DurabilitiesOptions) {
    this.#options = options;
    this.#link = options.link;
    this.#key = groupKeys(options.group).durabilities;
  }

  /** Takes those of the store into a Redis that lost them, such as on a new machine; after that the store follows Redis. */
  async adopt(stored: ChosenDurabilities): Promise<void> {
    const link = this.#link;
    const call = (...command: [string, ...(string | number)[]]) =>
      link.retryUntilDone(() => link.call(...command));
    if ((await call('HEXISTS', this.#key, MARK)) === 0) {
      for (const [tenant, mode] of Object.entries(stored)) {
        await call('HSETNX', this.#key, tenant, mode);
        await this.#read(tenant);
      }
      await call('HSET', this.#key, MARK, 1);
    }
    await this.load();
    this.#isAdopted = true;
    this.#store();
  }

  /**
   * Reads all of them: only tenants that differ from the settings are there. Again where notifications may have been lost; then one that
   * is missing stays as it was: Redis may have lost its data.
   */
  async load(): Promise<void> {
    for (let cursor = '0'; ; ) {
      const [next, fields] = (await this.#link.retryUntilDone(() =>
        this.#link.call('HSCAN', this.#key, cursor, 'COUNT', CHUNK),
      )) as [string, string[]];
      for (let index = 0; index < fields.length; index += 2) this.#set(fields[index]!, fields[index + 1]);
      if (next === '0') return;
      cursor = next;
    }
  }

  /** A person changed the tenant's. @throws Error of Redis */
  async onNotified(tenant: string): Promise<void> {
    const mode = await this.#read(tenant);
    this.#store();
    this.#options.log.info({ tenant, durability: mode ?? 'default' }, 'Durability changed');
  }

  async #read(tenant: string): Promise<string | null> {
    const { group, state } = this.#options;
    const link = this.#link;
    const mode = (await link.retryUntilDone(() => link.call('HGET', this.#key, tenant))) as string | null;
    this.#set(tenant, mode ?? undefined);
    const { prefix, name } = tenantQueue(group, tenant);
    await link.retryUntilDone(() =>
      link.call('HSET', `${prefix}:${name}:meta`, SYNC_FIELD, state.modeOf(tenant) === 'sync' ? 1 : 0),
    );
    return mode;
  }

  #store(): void {
    if (this.#isAdopted) this.#options.shipping?.storeDurabilities(Object.fromEntries(this.#chosen));
  }

  #set(tenant: string, mode: string | undefined): void {
    if (!TENANT_ID_PATTERN.test(tenant)) return;
    const { state, log } = this.#options;
    if (mode === undefined) this.#chosen.delete(tenant);
    else if (isDurability(mode)) this.#chosen.set(tenant, mode);
    if (mode === undefined || isDurability(mode)) state.setMode(tenant, mode);
    else log.warn({ tenant, durability: mode.slice(0, 20) }, 'Unknown durability; the default holds');
  }
}
