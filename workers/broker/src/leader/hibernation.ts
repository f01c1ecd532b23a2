import { existsSync } from 'node:fs';
import { type DataPlace, formatBytes } from '@onewriter/files';
import {
  isOnewriterError,
  listHibernated,
  realDatabasePath,
  tenantFile,
  toWireError,
} from '@onewriter/protocol';
import type { HibernateRequest } from '@onewriter/replicator';
import type { Logger } from '@onewriter/runtime';
import type { CatalogueEntry, TenantCatalogue } from '@onewriter/tenants';

/*
 * Hibernates tenants that are not used: those idle for as long as the settings say, and the longest idle ones where the disk is over its
 * budget. One at a time, each proved before it is held, so that a write that comes meanwhile does not wait.
 */

/** Settings of {@link Hibernation}. */
export interface HibernationOptions {
  readonly place: DataPlace;
  readonly catalogue: Pick<TenantCatalogue, 'names' | 'look'>;
  /** Undefined: time alone is no reason. */
  readonly afterMs: number | undefined;
  /** Bytes of all files here; undefined: they are no reason. */
  readonly budgetBytes: number | undefined;
  /** @throws OnewriterError; the tenant stays as it was then */
  readonly hibernate: (request: Pick<HibernateRequest, 'tenant' | 'reason' | 'signal'>) => Promise<unknown>;
  /** Has the broker open a file, and close it when it is idle: what a broker that ended left beside it goes. */
  readonly settle: (tenant: string) => void;
  readonly log: Logger;
  readonly nowMs?: (() => number) | undefined;
}

/** Between two looks at all tenants. */
const LOOK_EVERY_MS = 30_000;
const CHUNK = 1_000;
/** One that is used more often is no candidate, however little room there is. */
const IN_USE_MS = 60_000;
/** A budget that was reached is left by so much, so that the next write does not reach it again. */
const UP_TO = 0.9;
/** One that could not be hibernated is tried again after this. */
const RETRY_AFTER_MS = 10 * 60_000;
const MAX_FAILURES = 10_000;

/** A tenant that may be hibernated. */
interface Candidate {
  readonly tenant: string;
  readonly idleMs: number;
  readonly bytes: number;
  /** A process has it open, or had when it ended. */
  readonly isOpen: boolean;
}

export class Hibernation {
  readonly #options: HibernationOptions;
  readonly #nowMs: () => number;
  readonly #stop = new AbortController();
  /** When each may be tried again. */
  readonly #failed = new Map<string, number>();
  #lookAtMs = 0;
  #running: Promise<void> | undefined;

  constructor(options: HibernationOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  /** To be called often: begins the next round when its time has come. */
  tick(): void {
    if (this.#running !== undefined || this.#stop.signal.aborted || this.#nowMs() < this.#lookAtMs) return;
    this.#running = this.#round()
      .catch(error => this.#options.log.warn({ err: error }, 'Idle tenants could not be looked for'))
      .finally(() => {
        this.#running = undefined;
        this.#lookAtMs = this.#nowMs() + LOOK_EVERY_MS;
      });
  }

  /** Idempotent. One that is under way stays, or goes: it may be killed at any moment. */
  close(): void {
    this.#stop.abort();
  }

  async #round(): Promise<void> {
    const { afterMs = Number.POSITIVE_INFINITY, budgetBytes = Number.POSITIVE_INFINITY } = this.#options;
    const { candidates, bytes } = await this.#look();
    let left = bytes;
    const isOver = bytes > budgetBytes;
    // The longest idle first.
    for (const { tenant, idleMs, bytes: size, isOpen } of candidates.toSorted(
      (a, b) => b.idleMs - a.idleMs,
    )) {
      if (this.#stop.signal.aborted) return;
      const isRoomNeeded = isOver && left > budgetBytes * UP_TO;
      if (idleMs < afterMs && !isRoomNeeded) continue;
      if (isOpen) {
        this.#tryLater(tenant);
        this.#options.settle(tenant);
        continue;
      }
      const reason =
        idleMs >= afterMs
          ? `idle for ${Math.round(idleMs / 60_000)} min`
          : `over ${formatBytes(budgetBytes)} of files`;
      if (await this.#hibernate(tenant, reason)) left -= size;
    }
  }

  async #look(): Promise<{ readonly candidates: Candidate[]; readonly bytes: number }> {
    const { place, catalogue } = this.#options;
    const away = new Set(listHibernated(place.dataDir));
    const names = (await catalogue.names()).filter(name => !away.has(name));
    const candidates: Candidate[] = [];
    let bytes = 0;
    for (let from = 0; from < names.length; from += CHUNK) {
      for (const entry of await catalogue.look(names.slice(from, from + CHUNK))) {
        const size = (entry.size?.bytes ?? 0) + (entry.size?.walBytes ?? 0);
        bytes += size;
        const idleMs = this.#idleMs(entry);
        if (idleMs === undefined) continue;
        const path = realDatabasePath(tenantFile(place.dataDir, entry.tenant, place.dbFile));
        // The last to close it removes the index.
        const isOpen = existsSync(`${path}-shm`);
        candidates.push({ tenant: entry.tenant, idleMs, bytes: size, isOpen });
      }
    }
    return { candidates, bytes };
  }

  /** Undefined for one that is no candidate. */
  #idleMs({
    tenant,
    state,
    size,
    lastActivity,
    waitingJobs,
    activeJobs,
    durability,
  }: CatalogueEntry): number | undefined {
    if (state !== 'active' || size === undefined || waitingJobs + activeJobs > 0 || durability === 'off')
      return undefined;
    const nowMs = this.#nowMs();
    if ((this.#failed.get(tenant) ?? 0) > nowMs) return undefined;
    const idleMs = nowMs - (lastActivity ?? 0);
    return idleMs < IN_USE_MS ? undefined : idleMs;
  }

  /** @returns whether its file is gone */
  async #hibernate(tenant: string, reason: string): Promise<boolean> {
    const { hibernate, log } = this.#options;
    try {
      await hibernate({ tenant, reason, signal: this.#stop.signal });
      log.info({ tenant, reason }, 'Tenant hibernated');
      return true;
    } catch (error) {
      if (isOnewriterError(error, 'ABORTED')) return false;
      const { code, message } = toWireError(error);
      // Writes came: it is not idle any more.
      if (code !== 'TENANT_BUSY') log.warn({ tenant, code }, `Tenant not hibernated: ${message}`);
      this.#tryLater(tenant);
      return false;
    }
  }

  #tryLater(tenant: string): void {
    if (this.#failed.size >= MAX_FAILURES) this.#failed.clear();
    this.#failed.set(tenant, this.#nowMs() + RETRY_AFTER_MS);
  }
}
