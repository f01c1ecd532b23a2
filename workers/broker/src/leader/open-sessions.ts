import { groupKeys, type StatusTransactions } from '@onewriter/protocol';
import { LOCK_MS, TenantQueue } from '../queue/tenant-queue.ts';
import { FINISH_AFTER_MS } from '../tenant/session/completion.ts';
import { type SessionContext, TenantSession } from '../tenant/session/tenant-session.ts';
import type { LeaderOptions } from './leader-options.ts';

export const RENEW_LOCKS_EVERY_MS = LOCK_MS / 3;
/** Open transactions that the status lists. */
const MAX_STATUS_TRANSACTIONS = 50;

/** The sessions of a leader: one per tenant with work, until the tenant is idle or held. */
export class OpenSessions {
  readonly #options: Pick<LeaderOptions, 'config' | 'link' | 'lease'>;
  readonly #services: SessionContext;
  readonly #sessions = new Map<string, TenantSession>();
  /** The tenants that are open here, in Redis: a successor reclaims their jobs at once. */
  readonly #openKey: string;
  /** Sessions that acknowledged jobs which are not finished in Redis. */
  readonly #unfinished = new Set<TenantSession>();
  #finishing: NodeJS.Timeout | undefined;

  constructor(options: Pick<LeaderOptions, 'config' | 'link' | 'lease'>, services: SessionContext) {
    this.#options = options;
    this.#services = services;
    this.#openKey = groupKeys(options.config.group).open;
  }

  get size(): number {
    return this.#sessions.size;
  }

  get all(): readonly TenantSession[] {
    return [...this.#sessions.values()];
  }

  /** Undefined where the tenant has none. */
  find(tenant: string): TenantSession | undefined {
    return this.#sessions.get(tenant);
  }

  has(tenant: string): boolean {
    return this.#sessions.has(tenant);
  }

  /** The tenant's session; a new one where it has none. */
  of(tenant: string): TenantSession {
    return this.#sessions.get(tenant) ?? this.#open(tenant);
  }

  /** The tenant's next work opens a new session. {@link leaveOpenSet} follows. */
  forget(session: TenantSession): void {
    this.#sessions.delete(session.tenant);
    this.#services.walWatch.forget(session.tenant);
  }

  /** A successor does not look at these tenants at once. @throws Error of Redis */
  async leaveOpenSet(tenants: readonly string[]): Promise<void> {
    await this.#options.link.call('SREM', this.#openKey, ...tenants);
  }

  /** Sessions may have missed notifications and the answers to their fetches: each looks again. */
  notifyAll(): void {
    for (const session of this.#sessions.values()) session.notify();
  }

  /** Has a session finish its acknowledged jobs, together with those of other sessions. */
  finishSoon(session: TenantSession): void {
    this.#unfinished.add(session);
    this.#finishing ??= setTimeout(() => {
      this.#finishing = undefined;
      const sessions = [...this.#unfinished];
      this.#unfinished.clear();
      for (const each of sessions) each.finishAnswered().catch(this.#services.onBug);
    }, FINISH_AFTER_MS);
  }

  /** To be called every {@link RENEW_LOCKS_EVERY_MS}. */
  renewLocks(): void {
    const before = performance.now() - RENEW_LOCKS_EVERY_MS;
    for (const session of this.#sessions.values()) {
      // An expired lock only lets failing a job fail, which is tried again.
      session.renewLocks(before).catch(() => {});
    }
  }

  /** The open transactions, as the status shows them. */
  get transactions(): StatusTransactions {
    const open = this.all.flatMap(session => session.openTransaction ?? []);
    open.sort((a, b) => a.deadlineAt - b.deadlineAt);
    return { total: open.length, open: open.slice(0, MAX_STATUS_TRANSACTIONS) };
  }

  /** Drops the finish that {@link finishSoon} scheduled: a drain finishes these jobs. Idempotent. */
  stop(): void {
    clearTimeout(this.#finishing);
  }

  #open(tenant: string): TenantSession {
    const { link, config, lease } = this.#options;
    const { onBug } = this.#services;
    const queue = new TenantQueue(link, config.group, tenant, lease);
    const session = new TenantSession(tenant, queue, this.#services);
    this.#sessions.set(tenant, session);
    // Both are added before the session's first fetch. A successor reclaims the tenants of the first at once. It sweeps those
    // of the second, which producers fill, too, but not again soon if Redis has lost it.
    link.retryUntilDone(() => link.call('SADD', this.#openKey, tenant)).catch(onBug);
    link
      .retryUntilDone(() => link.call('ZADD', groupKeys(config.group).tenants, 'GT', Date.now(), tenant))
      .catch(onBug);
    link.retryUntilDone(() => queue.configure(this.#services.replica.isSync(tenant))).catch(onBug);
    return session;
  }
}
