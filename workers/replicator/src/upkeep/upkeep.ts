import { setTimeout as pause } from 'node:timers/promises';
import { backOffMs } from '@onewriter/protocol';
import { PACKS_OF_LEVEL } from '../format/entry.ts';

/*
 * What is done beside shipping, in processes of low priority, one at a time: packs are put together to larger ones, and tenants are
 * restored in turn, to know that they can be.
 */

/** Packs are made all the time: a look whether a block is full. */
const LOOK_EVERY_MS = 5_000;
/** Also without a new block something expires. */
const COMPACT_AT_LEAST_EVERY_MS = 10 * 60_000;
const PAUSES = Object.freeze({ firstMs: 5_000, maxMs: 5 * 60_000 });
/** Each tenant is rehearsed once in this time. */
const ROUND_MS = 24 * 60 * 60_000;
/** One rehearsal begins so long after the one before, at least, and after so many times its duration: a bounded share of a core. */
const MIN_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 15 * 60_000;
const PAUSE_PER_DURATION = 20;

/** Who can be rehearsed. */
export interface Rehearsable {
  readonly tenant: string;
  /** When it was rehearsed last, ms since the epoch; undefined: not yet. */
  readonly verifiedMs: number | undefined;
}

export interface UpkeepOptions {
  /** Number of the newest pack of level 0. */
  readonly newestPack: () => number;
  readonly compact: (signal: AbortSignal) => Promise<void>;
  /** Tenants with a file in the store. */
  readonly tenants: () => readonly Rehearsable[];
  readonly rehearse: (tenant: string, signal: AbortSignal) => Promise<void>;
  readonly onError: (what: 'compact' | 'rehearse', error: unknown) => void;
  readonly signal: AbortSignal;
  /** Ms since the epoch. */
  readonly nowMs: () => number;
}

/** Compacts and rehearses until its signal aborts. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #compactedBlock = -1;
  #compactedMs = Number.NEGATIVE_INFINITY;
  #compactFailures = 0;
  #compactAtMs = Number.NEGATIVE_INFINITY;
  #rehearseAtMs = Number.NEGATIVE_INFINITY;
  /** When each was tried last, with or without success. */
  readonly #triedMs = new Map<string, number>();

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Never throws. */
  async run(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      await this.step();
      await pause(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Does what is due now. */
  async step(): Promise<void> {
    await this.#compactIfDue();
    if (!this.#options.signal.aborted) await this.#rehearseIfDue();
  }

  async #compactIfDue(): Promise<void> {
    const { newestPack, compact, onError, signal, nowMs } = this.#options;
    if (nowMs() < this.#compactAtMs) return;
    const block = Math.floor(newestPack() / PACKS_OF_LEVEL[1]);
    if (block === this.#compactedBlock && nowMs() - this.#compactedMs < COMPACT_AT_LEAST_EVERY_MS) return;
    try {
      await compact(signal);
      this.#compactedBlock = block;
      this.#compactedMs = nowMs();
      this.#compactFailures = 0;
    } catch (error) {
      if (!signal.aborted) onError('compact', error);
      this.#compactAtMs = nowMs() + backOffMs(++this.#compactFailures, PAUSES);
    }
  }

  async #rehearseIfDue(): Promise<void> {
    const { tenants, rehearse, onError, signal, nowMs } = this.#options;
    const beganMs = nowMs();
    if (beganMs < this.#rehearseAtMs) return;
    const all = tenants();
    const next = this.#longestSince(all);
    if (next === undefined || beganMs - this.#lastMs(next) < ROUND_MS) return;
    this.#triedMs.set(next.tenant, beganMs);
    try {
      await rehearse(next.tenant, signal);
    } catch (error) {
      if (!signal.aborted) onError('rehearse', error);
    }
    const share = Math.min(Math.max(ROUND_MS / all.length, MIN_PAUSE_MS), MAX_PAUSE_MS);
    this.#rehearseAtMs = nowMs() + Math.max(share, (nowMs() - beganMs) * PAUSE_PER_DURATION);
  }

  #longestSince(tenants: readonly Rehearsable[]): Rehearsable | undefined {
    // Those that are gone.
    if (this.#triedMs.size > 2 * tenants.length) this.#triedMs.clear();
    let longest: Rehearsable | undefined;
    for (const tenant of tenants)
      if (longest === undefined || this.#lastMs(tenant) < this.#lastMs(longest)) longest = tenant;
    return longest;
  }

  #lastMs({ tenant, verifiedMs = 0 }: Rehearsable): number {
    return Math.max(verifiedMs, this.#triedMs.get(tenant) ?? 0);
  }
}
