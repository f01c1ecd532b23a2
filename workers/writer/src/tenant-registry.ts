import type { OnewriterError } from '@onewriter/protocol';
import type { WriterOptions } from './lane-task.ts';
import { type OpenTenantOptions, TenantDatabase } from './tenant-database.ts';

/** The tenants that one thread has open, at most `maxOpenTenants`; the least recently used is closed for another. */
export class TenantRegistry {
  readonly #options: Omit<OpenTenantOptions, 'epoch' | 'afterIoError'>;
  readonly #maxOpenTenants: number;
  readonly #open = new Map<string, TenantDatabase>();
  /** Tenants whose file failed since it was last opened in full health. */
  readonly #failed = new Set<string>();

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#maxOpenTenants = options.maxOpenTenants;
  }

  /** Whether so many tenants have a transaction open that no further one may: their files cannot be closed for others. */
  get isFullOfTransactions(): boolean {
    let open = 0;
    for (const { transaction } of this.#open.values()) if (transaction !== undefined) open++;
    return open >= Math.max(1, Math.floor(this.#maxOpenTenants / 2));
  }

  /** The tenant's database if it is open. */
  get(tenant: string): TenantDatabase | undefined {
    return this.#open.get(tenant);
  }

  /**
   * The tenant's database under `epoch`, opened if it is not.
   *
   * @param evicted gets the names of tenants that were closed for it.
   * @param mayCreate false: a file that is missing is not made, whatever the settings say.
   * @throws OnewriterError as {@link TenantDatabase.open} and {@link TenantDatabase.takeEpoch}.
   */
  open(tenant: string, epoch: number, evicted: string[], mayCreate = true): TenantDatabase {
    const known = this.#open.get(tenant);
    if (known?.db.open) {
      this.#open.delete(tenant);
      this.#open.set(tenant, known);
      known.takeEpoch(epoch);
      return known;
    }
    const afterIoError = this.#failed.has(tenant);
    const createTenants = this.#options.createTenants && mayCreate;
    const database = TenantDatabase.open(tenant, { ...this.#options, createTenants, epoch, afterIoError });
    this.#failed.delete(tenant);
    this.#open.set(tenant, database);
    for (const [oldest, { transaction }] of this.#open) {
      if (this.#open.size <= this.#maxOpenTenants) break;
      if (transaction !== undefined) continue;
      this.close(oldest);
      evicted.push(oldest);
    }
    return database;
  }

  /**
   * Ends the connection to files that changed; does nothing where they did not.
   * @returns the finding
   */
  secure(tenant: string, mayBeTheirs: boolean, closing = false): OnewriterError | undefined {
    const database = this.#open.get(tenant);
    const finding = database?.secure(mayBeTheirs, closing);
    if (database?.db.open === false) this.#open.delete(tenant);
    return finding;
  }

  /**
   * Gives up a connection that failed or is fenced.
   * @param ioError the WAL is not to be trusted until it is flushed
   * @returns the finding, where it failed because its files changed
   */
  abandon(tenant: string, ioError: boolean): OnewriterError | undefined {
    if (ioError) this.#failed.add(tenant);
    // Its close would write the log back.
    const finding = this.secure(tenant, true);
    if (finding !== undefined) return finding;
    const database = this.#open.get(tenant);
    this.#open.delete(tenant);
    database?.abandon();
    return undefined;
  }

  /**
   * Checkpoints and closes one tenant, or all; files that changed are secured instead.
   * @returns the tenants that were open, and what was found.
   */
  close(tenant: string | null): ClosedTenants {
    const tenants = tenant === null ? [...this.#open.keys()] : this.#open.has(tenant) ? [tenant] : [];
    const changed: ChangedTenant[] = [];
    for (const name of tenants) {
      const database = this.#open.get(name)!;
      // A process that ends may have been overtaken.
      const error = this.secure(name, tenant === null, true);
      if (error !== undefined) {
        changed.push({ tenant: name, error });
        continue;
      }
      this.#open.delete(name);
      database.close();
    }
    return { tenants, changed };
  }
}

export interface ClosedTenants {
  readonly tenants: readonly string[];
  readonly changed: readonly ChangedTenant[];
}

export interface ChangedTenant {
  readonly tenant: string;
  readonly error: OnewriterError;
}
