import { groupKeys, type StatusParkedTenant, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { assertLifeCycle, type TenantState } from '@onewriter/tenants';
import type { RedisLink } from '../queue/redis-link.ts';

/** Why a tenant cannot be written, as JSON in the group's hash. */
export interface ParkedRecord {
  readonly code: string;
  readonly message: string;
  /** ISO time. */
  readonly since: string;
}

/** Length of an error in a list: enough for what happened, where, and the remedy. */
const MAX_MESSAGE_LENGTH = 700;

/** Not DATABASE_CORRUPT: damage shows only where it is read. */
const SHOWN_BY_OPENING: ReadonlySet<string> = new Set([
  ...['TENANT_UNAVAILABLE', 'DATABASE_READONLY', 'DATABASE_IO_ERROR'],
]);

/** Lists tenants whose file refuses writes, for people. Writing is tried again, with growing pauses. */
export class Parked {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #log: Logger;
  /** By tenant, the longest parked first. */
  readonly #records = new Map<string, ParkedRecord>();

  constructor(link: RedisLink, group: string, log: Logger) {
    this.#link = link;
    this.#key = groupKeys(group).parked;
    this.#log = log;
  }

  get size(): number {
    return this.#records.size;
  }

  /** The first `max` of them, for people. */
  list(max: number): readonly StatusParkedTenant[] {
    const tenants: StatusParkedTenant[] = [];
    for (const [tenant, { code, message, since }] of this.#records) {
      if (tenants.length === max) break;
      tenants.push({ tenant, code, message: message.slice(0, MAX_MESSAGE_LENGTH), since: Date.parse(since) });
    }
    return tenants;
  }

  /** Reads the tenants parked under a predecessor: the first batch or look that finds them whole releases them. */
  async load(): Promise<void> {
    const records = (await this.#link.retryUntilDone(() => this.#link.redis.hgetall(this.#key))) as Record<
      string,
      string
    >;
    const loaded = Object.entries(records).map(
      ([tenant, json]) => [tenant, JSON.parse(json) as ParkedRecord] as const,
    );
    for (const [tenant, record] of loaded.toSorted((a, b) => a[1].since.localeCompare(b[1].since))) {
      this.#records.set(tenant, record);
    }
  }

  /** The code of a listed tenant. */
  codeOf(tenant: string): string | undefined {
    return this.#records.get(tenant)?.code;
  }

  /** Tenants whose file could not be opened, or not for writes: opening it shows whether it can. */
  get unopened(): readonly string[] {
    return [...this.#records].filter(([, { code }]) => SHOWN_BY_OPENING.has(code)).map(([tenant]) => tenant);
  }

  /** Whether a person who handled the tenant's file may have mended it. */
  mayBeMended(tenant: string): boolean {
    const code = this.codeOf(tenant);
    return code !== undefined && (SHOWN_BY_OPENING.has(code) || code === 'DATABASE_CORRUPT');
  }

  /** Tenants listed with a code. */
  withCode(code: string): readonly string[] {
    return [...this.#records].filter(([, record]) => record.code === code).map(([tenant]) => tenant);
  }

  /** Notes that a tenant's file refuses writes. */
  park(tenant: string, error: WireError): void {
    const known = this.#records.get(tenant);
    if (known?.code === error.code && known.message === error.message) return;
    const isPaused = error.code === 'TENANT_PAUSED';
    this.#assertChange(tenant, stateByCode(error.code));
    this.#log.error(
      { tenant, code: error.code },
      isPaused ? `Tenant paused: ${error.message}` : `Tenant parked: ${error.message} Trying again.`,
    );
    const record: ParkedRecord = {
      code: error.code,
      message: error.message,
      since: (known?.code === error.code ? known.since : undefined) ?? new Date().toISOString(),
    };
    this.#records.set(tenant, record);
    this.#save(
      this.#link.retryUntilDone(() => this.#link.call('HSET', this.#key, tenant, JSON.stringify(record))),
    );
  }

  /**
   * Notes that a tenant's file accepts writes, or that a person handles it. Costs nothing if the tenant was not parked. A pause
   * stays: a batch that was begun before it may commit after it.
   */
  release(tenant: string, why = 'The tenant can be written again'): void {
    if (this.#records.size === 0 || this.codeOf(tenant) === 'TENANT_PAUSED') return;
    this.#remove(tenant, why);
  }

  /** Notes that a tenant is not paused any more. */
  resume(tenant: string): void {
    if (this.codeOf(tenant) === 'TENANT_PAUSED') this.#remove(tenant, 'The tenant was resumed');
  }

  #remove(tenant: string, why: string): void {
    if (!this.#records.has(tenant)) return;
    this.#assertChange(tenant, 'active');
    this.#records.delete(tenant);
    this.#log.info({ tenant }, why);
    this.#save(this.#link.retryUntilDone(() => this.#link.call('HDEL', this.#key, tenant)));
  }

  /** Another reason for the same state is no change. */
  #assertChange(tenant: string, to: TenantState): void {
    const code = this.codeOf(tenant);
    const from = code === undefined ? 'active' : stateByCode(code);
    if (from !== to) assertLifeCycle(tenant, from, to);
  }

  #save(saving: Promise<unknown>): void {
    saving.catch(error => this.#log.warn({ err: error }, 'The list of parked tenants could not be saved'));
  }
}

/** A pause begins with the release of the file; then held-tenants.ts has the tenant. */
function stateByCode(code: string): TenantState {
  return code === 'TENANT_PAUSED' ? 'releasing' : 'parked';
}
