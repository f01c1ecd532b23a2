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

/** Entries read or written in one round trip. */
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
  /** Whether the data directory came out of a replica: with a Redis that is new, only the store has what people chose. */
  readonly isRestored: boolean;
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
  #areKnown = true;

  constructor(options: DurabilitiesOptions) {
    this.#options = options;
    this.#link = options.link;
    this.#key = groupKeys(options.group).durabilities;
  }

  /** False until the store was read, where only it has them: any tenant may be `sync`. */
  get areKnown(): boolean {
    return this.#areKnown;
  }

  /** Before the leader leads. */
  async start(): Promise<void> {
    await this.load();
    const { isRestored, shipping } = this.#options;
    if (shipping === undefined || !isRestored) return;
    this.#areKnown = (await this.#hasMark()) || this.#isAdopted;
  }

  /** Takes those of the store into a Redis that lost them, such as on a new machine; after that the store follows Redis. */
  async adopt(stored: ChosenDurabilities): Promise<void> {
    if (!(await this.#hasMark())) {
      const entries = Object.entries(stored);
      for (let from = 0; from < entries.length; from += CHUNK)
        await Promise.all(entries.slice(from, from + CHUNK).map(entry => this.#take(...entry)));
      await this.#call('HSET', this.#key, MARK, 1);
    }
    await this.load();
    this.#isAdopted = true;
    this.#areKnown = true;
    this.#store();
  }

  /**
   * Reads all of them: only tenants that differ from the settings are there. Again where notifications may have been lost; then one that
   * is missing stays as it was: Redis may have lost its data.
   */
  async load(): Promise<void> {
    for (let cursor = '0'; ; ) {
      const scanned = await this.#call('HSCAN', this.#key, cursor, 'COUNT', CHUNK);
      const [next, fields] = scanned as [string, string[]];
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

  #call(...command: [string, ...(string | number)[]]): Promise<unknown> {
    return this.#link.retryUntilDone(() => this.#link.call(...command));
  }

  async #hasMark(): Promise<boolean> {
    return (await this.#call('HEXISTS', this.#key, MARK)) === 1;
  }

  /** Of the store. What a person chose meanwhile is newer. */
  async #take(tenant: string, mode: string): Promise<void> {
    await this.#call('HSETNX', this.#key, tenant, mode);
    await this.#read(tenant);
  }

  async #read(tenant: string): Promise<string | null> {
    const { group, state } = this.#options;
    const mode = (await this.#call('HGET', this.#key, tenant)) as string | null;
    this.#set(tenant, mode ?? undefined);
    const { prefix, name } = tenantQueue(group, tenant);
    await this.#call('HSET', `${prefix}:${name}:meta`, SYNC_FIELD, state.modeOf(tenant) === 'sync' ? 1 : 0);
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
