/*
 * Tenants are restored in turn, beside their files, to know that they can be: one at a time, in processes of low priority.
 */

/** Each tenant is rehearsed once in this time. */
const ROUND_MS = 24 * 60 * 60_000;
/** One begins so long after the one before, at least and at most, and after so many times its duration: a bounded share of a core. */
const MIN_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 15 * 60_000;
const PAUSE_PER_DURATION = 20;

/** Who can be rehearsed. */
export interface Rehearsable {
  readonly tenant: string;
  /** When it was rehearsed last, ms since the epoch; undefined: not yet. */
  readonly verifiedMs: number | undefined;
}

export interface RehearsalsOptions {
  /** Tenants with a file in the store. */
  readonly tenants: () => readonly Rehearsable[];
  readonly rehearse: (tenant: string, signal: AbortSignal) => Promise<void>;
  readonly onError: (tenant: string, error: unknown) => void;
  readonly signal: AbortSignal;
  /** Ms since the epoch. */
  readonly nowMs: () => number;
}

/** Chooses which tenant is rehearsed next, and when. */
export class Rehearsals {
  readonly #options: RehearsalsOptions;
  #isRunning = false;
  #notBeforeMs: number;
  /** When each was tried last, with or without success. */
  readonly #triedMs = new Map<string, number>();

  constructor(options: RehearsalsOptions) {
    this.#options = options;
    this.#notBeforeMs = options.nowMs() + MIN_PAUSE_MS;
  }

  /** Called again and again: begins the next one where it is due. */
  advance(): void {
    const { tenants, signal, nowMs } = this.#options;
    if (this.#isRunning || signal.aborted || nowMs() < this.#notBeforeMs) return;
    const all = tenants();
    const next = this.#longestSince(all);
    if (next === undefined || nowMs() - this.#lastMs(next) < ROUND_MS) return;
    void this.#run(next.tenant, all.length);
  }

  async #run(tenant: string, count: number): Promise<void> {
    const { rehearse, onError, signal, nowMs } = this.#options;
    const beganMs = nowMs();
    this.#isRunning = true;
    this.#triedMs.set(tenant, beganMs);
    try {
      await rehearse(tenant, signal);
    } catch (error) {
      if (!signal.aborted) onError(tenant, error);
    }
    this.#isRunning = false;
    const share = Math.min(Math.max(ROUND_MS / count, MIN_PAUSE_MS), MAX_PAUSE_MS);
    this.#notBeforeMs = nowMs() + Math.max(share, (nowMs() - beganMs) * PAUSE_PER_DURATION);
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
