import { isOnewriterError, type OnewriterError } from '@onewriter/protocol';
import type { CaptureSink } from '../capture/capture-sink.ts';
import { LeftLog } from '../file/left-log.ts';
import { type OpenTenantOptions, type SmallLog, TenantDatabase } from '../file/tenant-database.ts';
import type { WriterOptions } from './lane-task.ts';

/** Share of the open files that is closed when the process may open no more. */
const SHARE_CLOSED = 1 / 8;
/** How long the remaining number is the bound: others may have used the descriptors only for a moment. */
const LOWER_BOUND_MS = 60_000;

/** The tenants that one thread has open, at most `maxOpenTenants`; the least recently used is closed for another. */
export class TenantRegistry {
  readonly #options: Omit<OpenTenantOptions, 'epoch' | 'afterIoError' | 'captured'>;
  readonly #maxOpenTenants: number;
  readonly #open = new Map<string, TenantDatabase>();
  /** Of tenants that were closed for others. */
  readonly #leftLogs = new Map<string, LeftLog>();
  /** Tenants whose file failed since it was last opened without errors. */
  readonly #failed = new Set<string>();
  /** Set if descriptors ran out before `maxOpenTenants` was reached. */
  #lowered: { readonly bound: number; readonly untilMs: number } | undefined;

  /** @param capture receives the logs of all tenants; undefined: they are not replicated */
  constructor(options: WriterOptions, capture?: CaptureSink | undefined) {
    this.#options = { ...options, capture };
    this.#maxOpenTenants = options.maxOpenTenants;
  }

  /** Whether no further tenant may leave a transaction open: their files cannot be closed for others. */
  get isFullOfTransactions(): boolean {
    let open = 0;
    for (const { transaction } of this.#open.values()) if (transaction !== undefined) open++;
    return open >= Math.max(1, Math.floor(this.#maxOpenTenants / 2));
  }

  /** All open databases. */
  databases(): Iterable<TenantDatabase> {
    return this.#open.values();
  }

  /** The tenant's database if it is open. */
  get(tenant: string): TenantDatabase | undefined {
    return this.#open.get(tenant);
  }

  /**
   * The tenant's database under `epoch`, opened if necessary.
   *
   * @param evicted receives the names of tenants that were closed for it.
   * @param mayCreate false: a missing file is not made, whatever the settings say.
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
    const captured = this.#leftLogs.get(tenant)?.captured;
    const options = { ...this.#options, createTenants, epoch, afterIoError, captured };
    // First, so that the bound is never exceeded.
    this.#closeOldest(this.#bound - 1, evicted);
    const database = this.#openWithRoom(tenant, options, evicted);
    this.#failed.delete(tenant);
    this.#leftLogs.delete(tenant);
    this.#open.set(tenant, database);
    return database;
  }

  /** Opens a file; if the process may open no more, closes others until it can. */
  #openWithRoom(tenant: string, options: OpenTenantOptions, evicted: string[]): TenantDatabase {
    for (;;) {
      try {
        return TenantDatabase.open(tenant, options);
      } catch (error) {
        if (!isOnewriterError(error, 'TOO_MANY_OPEN_FILES')) throw error;
        const left = Math.floor(this.#open.size * (1 - SHARE_CLOSED));
        if (!this.#closeOldest(Math.min(left, this.#open.size - 1), evicted)) throw error;
        const bound = this.#open.size + 1;
        this.#lowered = { bound, untilMs: performance.now() + LOWER_BOUND_MS };
      }
    }
  }

  get #bound(): number {
    if (this.#lowered === undefined) return this.#maxOpenTenants;
    if (performance.now() < this.#lowered.untilMs) return Math.min(this.#lowered.bound, this.#maxOpenTenants);
    this.#lowered = undefined;
    return this.#maxOpenTenants;
  }

  /** Closes the least recently used until `left` are open. @returns whether one was closed */
  #closeOldest(left: number, evicted: string[]): boolean {
    if (this.#open.size <= left) return false;
    const before = this.#open.size;
    for (const [oldest, database] of this.#open) {
      if (this.#open.size <= left) break;
      // Its client continues the transaction.
      if (database.transaction !== undefined) continue;
      this.#closeOne(oldest, false, [], 'left');
      // One whose files changed stays open until all is saved.
      if (this.#open.has(oldest)) continue;
      evicted.push(oldest);
      // Without shared memory none is left.
      if (!database.exclusive) this.#leftLogs.set(oldest, new LeftLog(database));
    }
    return this.#open.size < before;
  }

  /**
   * Ends the connection to files that changed; does nothing if they did not.
   * @returns the finding
   */
  secure(tenant: string, mayBeTheirs: boolean, closing = false): OnewriterError | undefined {
    const database = this.#open.get(tenant);
    const finding = database?.secure(mayBeTheirs, closing);
    if (database?.db.open === false) this.#open.delete(tenant);
    return finding;
  }

  /**
   * Drops a connection that failed or is fenced.
   * @param ioError the WAL is unreliable until it is flushed
   * @param fenced another leader may have put other files there
   * @returns the finding, if it failed because its files changed
   */
  abandon(tenant: string, ioError: boolean, fenced: boolean): OnewriterError | undefined {
    if (ioError) this.#failed.add(tenant);
    // Its close would write the log back, and the next open would make an empty file where it was moved away.
    const finding = this.secure(tenant, fenced);
    if (finding !== undefined) return finding;
    const database = this.#open.get(tenant);
    this.#open.delete(tenant);
    database?.abandon();
    return undefined;
  }

  /** Has the next opening write back the log, which is unreliable. @throws OnewriterError TENANT_UNAVAILABLE: its files changed */
  distrust(tenant: string): void {
    const finding = this.abandon(tenant, true, false);
    if (finding !== undefined) throw finding;
  }

  /**
   * Checkpoints and closes one tenant; files that changed are secured instead.
   * @returns the tenant, if it was open, and the findings.
   */
  close(tenant: string): ClosedTenants {
    const changed: ChangedTenant[] = [];
    const wasOpen = this.#open.has(tenant);
    if (wasOpen) this.#closeOne(tenant, false, changed, 'written-back');
    else this.#writeBackLog(tenant, 'written-back');
    return { tenants: wasOpen ? [tenant] : [], changed, left: 0 };
  }

  /**
   * The same for all, the least recently used first, as they are not needed any more.
   * @param withinMs after this time no further one is closed.
   */
  closeAll(withinMs = Number.POSITIVE_INFINITY): ClosedTenants {
    const until = performance.now() + withinMs;
    // Its frames show the next process where they continue.
    const isReplicated = this.#options.capture !== undefined;
    const tenants: string[] = [];
    const changed: ChangedTenant[] = [];
    for (const tenant of [...this.#open.keys()]) {
      if (performance.now() >= until) break;
      this.#closeOne(tenant, true, changed, isReplicated ? 'kept' : 'left-to-others');
      tenants.push(tenant);
    }
    for (const tenant of [...this.#leftLogs.keys()]) {
      if (performance.now() >= until) break;
      if (!isReplicated) this.#writeBackLog(tenant, 'left-to-others');
    }
    // One whose finding could not be saved stays open as well.
    return { tenants, changed, left: withinMs === Number.POSITIVE_INFINITY ? 0 : this.#open.size };
  }

  #writeBackLog(tenant: string, smallLog: SmallLog): void {
    this.#leftLogs.get(tenant)?.writeBack(smallLog);
    this.#leftLogs.delete(tenant);
  }

  /**
   * @param ending the process ends: it may have been overtaken
   * @param smallLog see {@link TenantDatabase.close}
   */
  #closeOne(tenant: string, ending: boolean, changed: ChangedTenant[], smallLog: SmallLog): void {
    const database = this.#open.get(tenant)!;
    const error = this.secure(tenant, ending, true);
    if (error !== undefined) {
      changed.push({ tenant, error });
      return;
    }
    this.#open.delete(tenant);
    database.close(smallLog);
  }
}

export interface ClosedTenants {
  readonly tenants: readonly string[];
  /** Tenants still open because time was up. */
  readonly left: number;
  readonly changed: readonly ChangedTenant[];
}

export interface ChangedTenant {
  readonly tenant: string;
  readonly error: OnewriterError;
}
