import { groupKeys, tenantQueue } from '@onewriter/protocol';
import { readHolders, type TenantHolder } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import type { TenantFiles } from './tenant-files.ts';

/** Why a tenant cannot be written, as the broker noted it. */
export interface ParkedTenant {
  readonly code: string;
  readonly message: string;
  /** ISO time. */
  readonly since: string;
}

/** What the file system and Redis know of a tenant. */
export interface TenantSummary {
  readonly tenant: string;
  /**
   * - `active`: writes are applied.
   * - `paused`: writes are refused or wait, as long as it has holders.
   * - `parked`: its file refuses writes; the broker tries again and again.
   * - `new`: it has queued writes and no file yet.
   */
  readonly state: 'active' | 'paused' | 'parked' | 'new';
  readonly bytes: number | null;
  readonly walBytes: number | null;
  /** Jobs that wait or are being applied. */
  readonly queuedJobs: number;
  /** ISO time; null where Redis knows none. */
  readonly lastActivity: string | null;
  readonly parked: ParkedTenant | null;
  /** Who keeps it still; it is active again when the last lets go. */
  readonly holders: TenantHolder[];
}

/** A page of tenants. */
export interface TenantPage {
  readonly tenants: readonly TenantSummary[];
  /** Ask for what comes after this; null at the end. */
  readonly next: string | null;
}

/** Lists of names are shared by callers within this time: with tens of thousands of tenants each costs some work. */
const FRESH_MS = 1_000;

/** Finds tenants: those that have a folder, and those that Redis has heard of. */
export class TenantRegistry {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #files: TenantFiles;
  #names: Promise<readonly string[]> | undefined;
  #namesUntil = 0;

  constructor(redis: Redis, group: string, files: TenantFiles) {
    this.#redis = redis;
    this.#group = group;
    this.#files = files;
  }

  /** Tenants after the name `after`, by name, of those that `covers` lets through. */
  async list(after: string, limit: number, covers: (tenant: string) => boolean): Promise<TenantPage> {
    const names = (await this.#allNames()).filter(name => name > after && covers(name));
    const page = names.slice(0, limit);
    return { tenants: await this.#summaries(page), next: names.length > limit ? page.at(-1)! : null };
  }

  /** Undefined where neither the file system nor Redis know it. */
  async find(tenant: string): Promise<TenantSummary | undefined> {
    const [summary] = await this.#summaries([tenant]);
    const known = summary!.bytes !== null || summary!.lastActivity !== null || summary!.queuedJobs > 0;
    return known ? summary : undefined;
  }

  /** Forgets what was listed: a tenant was created or deleted. */
  refresh(): void {
    this.#namesUntil = 0;
  }

  #allNames(): Promise<readonly string[]> {
    if (this.#names === undefined || performance.now() > this.#namesUntil) {
      this.#namesUntil = performance.now() + FRESH_MS;
      this.#names = this.#readNames();
      this.#names.catch(() => this.refresh());
    }
    return this.#names;
  }

  async #readNames(): Promise<readonly string[]> {
    const [folders, known] = await Promise.all([
      this.#files.list(),
      this.#redis.zrange(groupKeys(this.#group).tenants, '0', '-1'),
    ]);
    return [...new Set([...folders, ...known])].sort();
  }

  async #summaries(tenants: readonly string[]): Promise<TenantSummary[]> {
    if (tenants.length === 0) return [];
    const keys = groupKeys(this.#group);
    const pipeline = this.#redis.pipeline();
    for (const tenant of tenants) {
      const { prefix, name } = tenantQueue(this.#group, tenant);
      const key = (part: string) => `${prefix}:${name}:${part}`;
      pipeline.llen(key('wait')).llen(key('active'));
      pipeline.zscore(keys.tenants, tenant).hget(keys.parked, tenant);
    }
    const [sizes, holders, replies] = await Promise.all([
      Promise.all(tenants.map(tenant => this.#files.size(tenant))),
      readHolders(this.#redis, this.#group, tenants),
      pipeline.exec(),
    ]);
    return tenants.map((tenant, index) => {
      const values = (replies ?? []).slice(index * 4, index * 4 + 4).map(([error, value]) => {
        if (error) throw error;
        return value;
      });
      const [waiting, active, activity, parkedJson] = values;
      const held = holders[index] ?? [];
      const size = sizes[index];
      const parked = readParked(parkedJson);
      return {
        tenant,
        state: held.length > 0 ? 'paused' : parked ? 'parked' : size === undefined ? 'new' : 'active',
        bytes: size?.bytes ?? null,
        walBytes: size?.walBytes ?? null,
        queuedJobs: Number(waiting) + Number(active),
        lastActivity: typeof activity === 'string' ? new Date(Number(activity)).toISOString() : null,
        parked,
        holders: held,
      };
    });
  }
}

function readParked(json: unknown): ParkedTenant | null {
  if (typeof json !== 'string') return null;
  const { code, message, since } = JSON.parse(json) as ParkedTenant;
  return { code, message, since };
}
