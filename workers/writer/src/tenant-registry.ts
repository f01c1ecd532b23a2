import { type OpenTenantOptions, TenantDatabase } from './tenant-database.ts';

/** The tenants that one thread has open, at most `maxOpenTenants`; the least recently used is closed for another. */
export class TenantRegistry {
  readonly #options: Omit<OpenTenantOptions, 'epoch' | 'afterIoError'>;
  readonly #maxOpenTenants: number;
  readonly #open = new Map<string, TenantDatabase>();
  /** Tenants whose file failed since it was last opened in full health. */
  readonly #failed = new Set<string>();

  constructor(
    options: Omit<OpenTenantOptions, 'epoch' | 'afterIoError'> & { readonly maxOpenTenants: number },
  ) {
    this.#options = options;
    this.#maxOpenTenants = options.maxOpenTenants;
  }

  /** The tenant's database if it is open. */
  get(tenant: string): TenantDatabase | undefined {
    return this.#open.get(tenant);
  }

  /**
   * The tenant's database under `epoch`, opened if it is not.
   *
   * @param evicted gets the names of tenants that were closed for it.
   * @throws OnewriterError as {@link TenantDatabase.open} and {@link TenantDatabase.takeEpoch}.
   */
  open(tenant: string, epoch: number, evicted: string[]): TenantDatabase {
    const known = this.#open.get(tenant);
    if (known?.db.open) {
      this.#open.delete(tenant);
      this.#open.set(tenant, known);
      known.takeEpoch(epoch);
      return known;
    }
    const afterIoError = this.#failed.has(tenant);
    const database = TenantDatabase.open(tenant, { ...this.#options, epoch, afterIoError });
    this.#failed.delete(tenant);
    this.#open.set(tenant, database);
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= this.#maxOpenTenants) break;
      this.close(oldest);
      evicted.push(oldest);
    }
    return database;
  }

  /** Gives up a connection that failed or is fenced. @param ioError the WAL is not to be trusted until it is flushed. */
  abandon(tenant: string, ioError: boolean): void {
    if (ioError) this.#failed.add(tenant);
    const database = this.#open.get(tenant);
    this.#open.delete(tenant);
    database?.abandon();
  }

  /** Checkpoints and closes one tenant, or all. @returns the tenants that were open. */
  close(tenant: string | null): readonly string[] {
    const tenants = tenant === null ? [...this.#open.keys()] : this.#open.has(tenant) ? [tenant] : [];
    for (const name of tenants) {
      const database = this.#open.get(name)!;
      this.#open.delete(name);
      database.close();
    }
    return tenants;
  }
}
