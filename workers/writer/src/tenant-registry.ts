import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { WriterOptions } from './lane-task.ts';
import { type OpenTenantOptions, TenantDatabase } from './tenant-database.ts';

/** The tenants that one thread has open, at most `maxOpenTenants`; the least recently used is closed for another. */
export class TenantRegistry {
  readonly #options: Omit<OpenTenantOptions, 'epoch' | 'afterIoError'>;
  readonly #maxOpenTenants: number;
  readonly #open = new Map<string, TenantDatabase>();
  /** Tenants whose file failed since it was last opened in full health. */
  readonly #failed = new Set<string>();
  /** Tenants whose file vanished while it was open: an empty one in its place would look like lost data. */
  readonly #vanished = new Set<string>();

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
    const vanished = this.#vanished.has(tenant);
    const createTenants = this.#options.createTenants && !vanished && mayCreate;
    let database: TenantDatabase;
    try {
      database = TenantDatabase.open(tenant, { ...this.#options, createTenants, epoch, afterIoError });
    } catch (error) {
      if (vanished && isOnewriterError(error, 'TENANT_NOT_FOUND')) throw fileIsGone(error);
      throw error;
    }
    this.#failed.delete(tenant);
    this.#vanished.delete(tenant);
    this.#open.set(tenant, database);
    for (const [oldest, { transaction }] of this.#open) {
      if (this.#open.size <= this.#maxOpenTenants) break;
      if (transaction !== undefined) continue;
      this.close(oldest);
      evicted.push(oldest);
    }
    return database;
  }

  /** The tenant's file is not where it was opened: until it is closed on purpose, none is made in its place. */
  noteVanished(tenant: string): void {
    this.#vanished.add(tenant);
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
    if (tenant === null) this.#vanished.clear();
    else this.#vanished.delete(tenant);
    const tenants = tenant === null ? [...this.#open.keys()] : this.#open.has(tenant) ? [tenant] : [];
    for (const name of tenants) {
      const database = this.#open.get(name)!;
      this.#open.delete(name);
      database.close();
    }
    return tenants;
  }
}

function fileIsGone(cause: unknown): OnewriterError {
  return new OnewriterError(
    'TENANT_UNAVAILABLE',
    'The file was deleted or moved away while it was in use. Put it back; a new one is made only after the tenant was closed.',
    { reason: 'file deleted or moved away' },
    cause,
  );
}
