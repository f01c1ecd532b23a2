import type { Onewriter } from '@onewriter/sdk';
import { migrate } from './migrate.ts';
import { KanbanStore } from './store/kanban-store.ts';

/** Tenants remembered as up to date; the least recently used is asked for its schema version again. */
const MAX_REMEMBERED_TENANTS = 10_000;

/** The boards of each tenant, with the schema brought up to date on the first touch by this process. */
export class TenantBoards {
  readonly #onewriter: Onewriter;
  /** In order of use, the oldest first. */
  readonly #stores = new Map<string, Promise<KanbanStore>>();

  constructor(onewriter: Onewriter) {
    this.#onewriter = onewriter;
  }

  /** @throws OnewriterError INVALID_TENANT, and what `migrate` throws; the next call tries again */
  open(tenantId: string): Promise<KanbanStore> {
    const store = this.#stores.get(tenantId) ?? this.#start(tenantId);
    this.#stores.delete(tenantId);
    this.#stores.set(tenantId, store);
    if (this.#stores.size > MAX_REMEMBERED_TENANTS) {
      this.#stores.delete(this.#stores.keys().next().value!);
    }
    return store;
  }

  #start(tenantId: string): Promise<KanbanStore> {
    const store = this.#migrated(tenantId);
    store.catch(() => {
      if (this.#stores.get(tenantId) === store) this.#stores.delete(tenantId);
    });
    return store;
  }

  async #migrated(tenantId: string): Promise<KanbanStore> {
    const tenant = this.#onewriter.tenant(tenantId);
    await migrate(tenant);
    return new KanbanStore(tenant);
  }
}
