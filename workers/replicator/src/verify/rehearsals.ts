/*
 * Tenants are restored in turn, beside their files, to know that they can be: one at a time, in processes of low priority.
 */

/** Each tenant is rehearsed once in this time. */
const ROUND_MS = 24 * 60 * 60_000;
/** One that failed, or of which nothing became known, is rehearsed again so much later. */
const RETRY_MS = 60 * 60_000;
/** One begins so long after the one before, at least and at most, and after so many times its duration: a bounded share of a core. */
const MIN_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 15 * 60_000;
const PAUSE_PER_DURATION = 20;

/** Who can be rehearsed. */
export interface Rehearsable {
  readonly tenant: string;
  /** When it was rehearsed last, ms since the epoch; undefined: not yet. */
  readonly verifiedMs: number | undefined;
  /** Whether it was not sound then. */
  readonly failed?: boolean | undefined;
}

export interface RehearsalsOptions {
  /** Tenants with a file in the store. */
  readonly tenants: () => readonly Rehearsable[];
  /** Throws where nothing became known. */
  readonly rehearse: (tenant: string, signal: AbortSignal) => Promise<void>;
  readonly onError: (tenant: string, error: unknown) => void;
  readonly signal: AbortSignal;
  /** Ms since the epoch. */
  readonly nowMs: () => number;
}

interface Running {
  readonly tenant: string;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

/** Chooses which tenant is rehearsed next, and when. */
export class Rehearsals {
  readonly #options: RehearsalsOptions;
  #running: Running | undefined;
  #notBeforeMs: number;
  /** When those are due of which nothing became known. */
  readonly #retryMs = new Map<string, number>();

  constructor(options: RehearsalsOptions) {
    this.#options = options;
    this.#notBeforeMs = options.nowMs() + MIN_PAUSE_MS;
  }

  /** Called again and again: begins the next one where it is due. */
  advance(): void {
    const { tenants, signal, nowMs } = this.#options;
    const now = nowMs();
    if (this.#running !== undefined || signal.aborted || now < this.#notBeforeMs) return;
    const all = tenants();
    const next = this.#firstDue(all);
    if (next === undefined || this.#dueMs(next) > now) {
      // It walks through all tenants.
      this.#notBeforeMs = now + MIN_PAUSE_MS;
      return;
    }
    const stop = new AbortController();
    const ended = this.#run(next.tenant, all.length, AbortSignal.any([signal, stop.signal]));
    this.#running = { tenant: next.tenant, stop, ended };
  }

  /** Ends what runs, and what it would find counts for nothing. @param tenant only if it is of this one */
  interrupt(tenant?: string): void {
    if (tenant === undefined || this.#running?.tenant === tenant) this.#running?.stop.abort();
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    await this.#running?.ended;
  }

  async #run(tenant: string, count: number, signal: AbortSignal): Promise<void> {
    const { rehearse, onError, nowMs } = this.#options;
    const beganMs = nowMs();
    this.#retryMs.set(tenant, beganMs + RETRY_MS);
    try {
      await rehearse(tenant, signal);
      this.#retryMs.delete(tenant);
    } catch (error) {
      if (!signal.aborted) onError(tenant, error);
    }
    this.#running = undefined;
    const share = Math.min(Math.max(ROUND_MS / count, MIN_PAUSE_MS), MAX_PAUSE_MS);
    this.#notBeforeMs = nowMs() + Math.max(share, (nowMs() - beganMs) * PAUSE_PER_DURATION);
  }

  #firstDue(tenants: readonly Rehearsable[]): Rehearsable | undefined {
    // Those that are gone.
    if (this.#retryMs.size > 2 * tenants.length) this.#retryMs.clear();
    let first: Rehearsable | undefined;
    for (const tenant of tenants)
      if (first === undefined || this.#dueMs(tenant) < this.#dueMs(first)) first = tenant;
    return first;
  }

  #dueMs({ tenant, verifiedMs, failed = false }: Rehearsable): number {
    const dueMs = verifiedMs === undefined ? 0 : verifiedMs + (failed ? RETRY_MS : ROUND_MS);
    return Math.max(dueMs, this.#retryMs.get(tenant) ?? 0);
  }
}
