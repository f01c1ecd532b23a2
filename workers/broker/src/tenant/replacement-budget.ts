import { groupKeys, knownDatabaseSince } from '@onewriter/protocol';
import type { Config, Logger } from '@onewriter/runtime';
import type { RedisLink } from '../queue/redis-link.ts';

/*
 * How often writes had the broker replaced, or crashed it, those of all tenants together (ADR 0059). Each replacement makes all tenants wait, and each
 * tenant with a token of its own may cause the first one (Offenders). So their sum has a budget:
 *
 *   offenceLimit within offenceWindowMs
 *           spent, until the oldest of these leaves the window. Meanwhile offenders keep running apart, and so do newcomers: tenants
 *           first written to after the oldest of these replacements. A new replacement makes it last longer.
 *
 * A process counts the replacements of its predecessors: with one of its own it ends. The window is by the wall clock; how long the
 * budget stays spent is measured on the monotonic clock, as of the start of this process.
 */

/** Settings of {@link ReplacementBudget}. */
export type BudgetOptions = Pick<Config, 'group' | 'dataDir' | 'offenceLimit' | 'offenceWindowMs'>;

/** Replacements of the broker because of writes: who runs apart while there were too many. */
export class ReplacementBudget {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #options: BudgetOptions;
  readonly #log: Logger;
  #recent: readonly number[] = [];
  /** On the monotonic clock, ms. */
  #spentUntil = 0;
  /** Tenants that are no newcomers; while the budget is spent. */
  readonly #established = new Set<string>();

  constructor(link: RedisLink, options: BudgetOptions, log: Logger) {
    this.#link = link;
    this.#key = groupKeys(options.group).replacements;
    this.#options = options;
    this.#log = log;
  }

  /** Reads the notes of predecessors, and removes old ones. */
  async load(): Promise<void> {
    const { offenceLimit, offenceWindowMs } = this.#options;
    const notes = (await this.#link.retryUntilDone(() => this.#link.redis.hgetall(this.#key))) as Record<
      string,
      string
    >;
    const now = Date.now();
    const isOld = (at: number) => now - at >= offenceWindowMs;
    const old = Object.keys(notes).filter(epoch => isOld(Number(notes[epoch])));
    if (old.length > 0) await this.#link.retryUntilDone(() => this.#link.call('HDEL', this.#key, ...old));
    // A clock that was set back must not make it last longer than the window.
    this.#recent = Object.values(notes)
      .map(at => Math.min(Number(at), now))
      .filter(at => !isOld(at))
      .sort((a, b) => a - b);
    // So many must leave the window before there are fewer than the limit.
    const last = offenceLimit > 0 ? this.#recent.at(-offenceLimit) : undefined;
    if (last === undefined) return;
    const leftMs = last + offenceWindowMs - now;
    this.#spentUntil = performance.now() + leftMs;
    this.#log.warn(
      { replacements: this.#recent.length, forMs: Math.round(leftMs) },
      'Writes of all tenants together had the broker replaced too often; offenders and newcomers run apart',
    );
  }

  /** Notes that the process of this epoch is replaced because of writes. */
  async note(epoch: number): Promise<void> {
    await this.#link.retryUntilDone(() =>
      this.#link.call('HSET', this.#key, String(epoch), String(Date.now())),
    );
  }

  /**
   * Notes predecessors that ended in the middle of writes without a note: one of these may have crashed SQLite. A kill by a person looks
   * the same, and costs only that newcomers run apart sooner.
   * @param epochs in which they led; those that {@link note} has noted keep their time
   */
  async noteDeaths(epochs: readonly string[]): Promise<void> {
    for (const epoch of epochs)
      await this.#link.retryUntilDone(() => this.#link.call('HSETNX', this.#key, epoch, String(Date.now())));
  }

  /** Replacements of predecessors that are within the window. */
  get count(): number {
    const now = Date.now();
    return this.#recent.filter(at => now - at < this.#options.offenceWindowMs).length;
  }

  /** How long it stays spent, in ms; 0 where it is not. */
  spentMs(): number {
    if (this.#spentUntil === 0) return 0;
    const leftMs = this.#spentUntil - performance.now();
    if (leftMs > 0) return leftMs;
    this.#spentUntil = 0;
    this.#established.clear();
    return 0;
  }

  /** Whether the tenant must run apart because it is new while the budget is spent. */
  isNewcomer(tenant: string): boolean {
    if (this.spentMs() === 0 || this.#established.has(tenant)) return false;
    const since = knownDatabaseSince(this.#options.dataDir, tenant);
    if (since === undefined || since > this.#recent[0]!) return true;
    this.#established.add(tenant);
    return false;
  }
}
