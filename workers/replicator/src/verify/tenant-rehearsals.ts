import { OnewriterError, type StatusFailedRehearsal, type StatusRehearsals } from '@onewriter/protocol';
import type { TenantLine } from '../ship/tenant-line.ts';
import { type Rehearsable, Rehearsals } from './rehearsals.ts';
import { type Verified, VerifiedTenants } from './verified-tenants.ts';
import type { VerifyReport } from './verify-tenant.ts';

/** Commits of a tenant that wait for longer than this: what the store has of it says nothing about its file. */
const MAX_WAIT_MS = 10_000;
/** Failed ones that a status names. */
const MAX_FAILED = 20;

export interface TenantRehearsalsOptions {
  readonly dataDir: string;
  /** All tenants that the shipper knows. */
  readonly lines: ReadonlyMap<string, Pick<TenantLine, 'state' | 'items'>>;
  /** Tenants that the store has something of. */
  readonly stored: { has(tenant: string): boolean };
  /** In a process of low priority. */
  readonly verify: (tenant: string, signal: AbortSignal) => Promise<VerifyReport>;
  readonly onError: (tenant: string, error: unknown) => void;
  readonly nowMs: () => number;
}

/** Rehearses the tenants of a shipper in turn, and keeps what was found. */
export class TenantRehearsals {
  readonly #options: TenantRehearsalsOptions;
  readonly #verified: VerifiedTenants;
  readonly #rehearsals: Rehearsals;
  readonly #stop = new AbortController();
  #lastMs: number;
  #sound = 0;
  #unsound = 0;

  /** @throws Error of the file system */
  constructor(options: TenantRehearsalsOptions) {
    this.#options = options;
    const { dataDir, onError, nowMs } = options;
    this.#verified = new VerifiedTenants(dataDir, nowMs());
    this.#lastMs = this.#verified.sinceMs;
    for (const { atMs } of this.#verified.all.values()) this.#lastMs = Math.max(this.#lastMs, atMs);
    this.#rehearsals = new Rehearsals({
      tenants: () => this.#tenants(),
      rehearse: (tenant, signal) => this.#rehearse(tenant, signal),
      ...{ onError, nowMs, signal: this.#stop.signal },
    });
  }

  /** Called again and again while nothing else is read: begins the next one where it is due. */
  advance(): void {
    this.#rehearsals.advance();
    this.#save();
  }

  /** Ends what runs: something more urgent has to be read. */
  interrupt(): void {
    this.#rehearsals.interrupt();
  }

  /** A tenant was deleted, replaced, or is not stored any more: what was found was about another file. */
  forget(tenant: string): void {
    this.#rehearsals.interrupt(tenant);
    this.#verified.forget(tenant);
  }

  of(tenant: string): Verified | undefined {
    return this.#verified.all.get(tenant);
  }

  status(): StatusRehearsals {
    let [unverified, oldestAt] = [0, null as number | null];
    const failed: StatusFailedRehearsal[] = [];
    for (const tenant of this.#stored()) {
      const verified = this.of(tenant);
      if (verified === undefined) {
        unverified++;
        continue;
      }
      const { ok, problems, commitSeq, atMs } = verified;
      oldestAt = Math.min(oldestAt ?? atMs, atMs);
      if (!ok) failed.push({ tenant, problems, commitSeq, at: atMs });
    }
    failed.sort((one, other) => other.at - one.at);
    return {
      ...{ lastAt: this.#lastMs, oldestAt, unverified, sound: this.#sound, unsound: this.#unsound },
      ...{ failedTenants: failed.length, failed: failed.slice(0, MAX_FAILED) },
    };
  }

  /** Ends what runs, and saves what was found. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#rehearsals.idle();
    this.#save(true);
  }

  #tenants(): readonly Rehearsable[] {
    // Of tenants that the store no longer has, for example because another broker deleted them.
    for (const tenant of this.#verified.all.keys()) {
      const state = this.#options.lines.get(tenant)?.state;
      if (state === undefined || state === 'deleted' || state === 'off') this.#verified.forget(tenant);
    }
    return [...this.#stored()]
      .filter(tenant => this.#isSteady(tenant))
      .map(tenant => {
        const verified = this.of(tenant);
        return { tenant, verifiedMs: verified?.atMs, failed: verified?.ok === false };
      });
  }

  async #rehearse(tenant: string, signal: AbortSignal): Promise<void> {
    const { verify, nowMs } = this.#options;
    const { ok, problems, pos, commitSeq } = await verify(tenant, signal);
    signal.throwIfAborted();
    if (!ok && !this.#isSteady(tenant)) {
      const message = `Nothing is known from the test restore of ${tenant}: its replica was behind. ${problems[0] ?? ''}`;
      throw new OnewriterError('REPLICA_UNAVAILABLE', message, { tenant });
    }
    const atMs = nowMs();
    this.#lastMs = atMs;
    if (ok) this.#sound++;
    else this.#unsound++;
    this.#verified.note(tenant, { ok, problems, pos, commitSeq, atMs });
  }

  *#stored(): Iterable<string> {
    const { lines, stored } = this.#options;
    for (const [tenant, { state }] of lines)
      if (state !== 'off' && state !== 'deleted' && state !== 'unknown' && stored.has(tenant)) yield tenant;
  }

  /** Whether the store has, or will have in a moment, what the file has. */
  #isSteady(tenant: string): boolean {
    const line = this.#options.lines.get(tenant);
    if (line?.state !== 'chained') return false;
    const [first] = line.items;
    return first === undefined || this.#options.nowMs() - first.sinceMs < MAX_WAIT_MS;
  }

  #save(atOnce = false): void {
    try {
      this.#verified.save(this.#options.nowMs(), atOnce);
    } catch (error) {
      // A disk that is full must not end the thread; what was found is rehearsed again after a restart.
      this.#options.onError('', error);
    }
  }
}
