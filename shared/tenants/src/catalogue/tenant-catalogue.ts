import type { Redis } from 'ioredis';
import { stateOf, type TenantState } from '../tenant-state.ts';
import { type QueueFacts, readKnownTenants, readQueueFacts } from './tenant-facts.ts';
import type { Hibernated, TenantFolders, TenantSize } from './tenant-folders.ts';

/** What the file system and Redis know of a tenant. */
export interface CatalogueEntry extends QueueFacts {
  readonly state: TenantState;
  /** Undefined where there is no file. */
  readonly size: TenantSize | undefined;
  /** Set where its file lies in the replica. */
  readonly hibernated: Hibernated | undefined;
}

/** Whether the file system or Redis know it: a folder without a file that Redis does not know is no tenant. */
export function isTenant({
  size,
  hibernated,
  parked,
  lastActivity,
  waitingJobs,
  activeJobs,
}: CatalogueEntry): boolean {
  const isKnown = size !== undefined || hibernated !== undefined || parked !== null || lastActivity !== null;
  return isKnown || waitingJobs + activeJobs > 0;
}

/** Names are shared by callers within this time: with tens of thousands of tenants a list costs some work. */
const FRESH_MS = 1_000;

/** All tenants: those that have a folder, and those that Redis has heard of. */
export class TenantCatalogue {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #folders: TenantFolders;
  #names: Promise<readonly string[]> | undefined;
  #namesUntil = 0;

  constructor(redis: Redis, group: string, folders: TenantFolders) {
    this.#redis = redis;
    this.#group = group;
    this.#folders = folders;
  }

  /** Names of all, sorted; at most a second old. @throws Error of Redis or the file system */
  names(): Promise<readonly string[]> {
    if (this.#names === undefined || performance.now() > this.#namesUntil) {
      this.#namesUntil = performance.now() + FRESH_MS;
      this.#names = this.#readNames();
      this.#names.catch(() => this.refresh());
    }
    return this.#names;
  }

  /** Looks at each of the tenants, in their order. @throws Error of Redis or the file system */
  async look(tenants: readonly string[]): Promise<CatalogueEntry[]> {
    const [looks, facts] = await Promise.all([
      this.#folders.look(tenants),
      readQueueFacts(this.#redis, this.#group, tenants),
    ]);
    return facts.map((one, index) => {
      const { size, hibernated, trouble } = looks[index]!;
      const { holders, isReleased } = one;
      // Its next write would find the same.
      const parked =
        one.parked ??
        (trouble === undefined ? null : { code: 'TENANT_UNAVAILABLE', message: trouble, since: '' });
      const state = stateOf({
        hasFile: size !== undefined,
        isHibernated: hibernated !== undefined,
        hasWork: one.waitingJobs + one.activeJobs > 0,
        ...{ holders, isReleased, isParked: parked !== null },
      });
      return { ...one, parked, size, hibernated, state };
    });
  }

  /** Undefined where neither the file system nor Redis know it. @throws Error of Redis or the file system */
  async find(tenant: string): Promise<CatalogueEntry | undefined> {
    const [entry] = await this.look([tenant]);
    return isTenant(entry!) ? entry : undefined;
  }

  /** Forgets the names: a tenant was created or deleted. */
  refresh(): void {
    this.#namesUntil = 0;
  }

  async #readNames(): Promise<readonly string[]> {
    const [folders, known] = await Promise.all([
      this.#folders.names(),
      readKnownTenants(this.#redis, this.#group),
    ]);
    return [...new Set([...folders, ...known])].sort();
  }
}
