import type { Onewriter } from '@onewriter/sdk';
import { LRUCache } from 'lru-cache';
import { migrate } from './migrate.ts';
import { KanbanStore } from './store/kanban-store.ts';

/** Tenants remembered as up to date; the least recently used is asked for its schema version again. */
const MAX_REMEMBERED_TENANTS = 10_000;

/** The boards of each tenant, with the schema brought up to date on the first touch by this process. */
export class TenantBoards {
  readonly #onewriter: Onewriter;
  readonly #stores = new LRUCache<string, Promise<KanbanStore>>({ max: MAX_REMEMBERED_TENANTS });

  constructor(onewriter: Onewriter) {
    this.#onewriter = onewriter;
  }

  /** @throws OnewriterError INVALID_TENANT, and what `migrate` throws; the next call tries again */
  open(tenantId: string): Promise<KanbanStore> {
    return this.#stores.get(tenantId) ?? this.#start(tenantId);
  }

  #start(tenantId: string): Promise<KanbanStore> {
    const store = this.#migrated(tenantId);
    this.#stores.set(tenantId, store);
    store.catch(() => {
      if (this.#stores.peek(tenantId) === store) this.#stores.delete(tenantId);
    });
    return store;
  }

  async #migrated(tenantId: string): Promise<KanbanStore> {
    const tenant = this.#onewriter.tenant(tenantId);
    await migrate(tenant);
    return new KanbanStore(tenant);
  }
}
