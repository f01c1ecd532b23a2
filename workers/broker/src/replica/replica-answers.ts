import { isDurableJobId, isReadJobId, OnewriterError } from '@onewriter/protocol';
import type { StoredUpTo } from '@onewriter/replicator';
import type { JobOutcome } from '@onewriter/writer';
import { isStored, type ReplicaState } from './replica-state.ts';

/*
 * Which callers are answered only when the replica has their commit, and when that is:
 *
 *   committed ──▶ waits ──stored──────────────────────────────▶ answered with the time
 *                   └─ the store is away, or too much time ──▶ answered with 0: committed, and not known to be in the replica
 *
 * A write that would wait is refused before it is applied where the store is known to be away, or where too much waits already.
 */

/** Answers that wait, of all tenants. */
const MAX_WAITING_JOBS = 20_000;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
/** A wait ends then, whatever the store does. */
const MAX_WAIT_MS = 60_000;
const LOOK_EVERY_MS = 1_000;
/** What an answer costs besides its results. */
const ANSWER_BYTES = 500;
const RETRY_AFTER_MS = 1_000;

/** A commit of some jobs of one tenant. */
interface Wait extends Pick<StoredUpTo, 'epoch' | 'commitSeq' | 'incarnation'> {
  readonly jobs: number;
  readonly bytes: number;
  /** On the monotonic clock, ms. */
  readonly endsAt: number;
  readonly resolve: (replicatedAt: number) => void;
}

/** Bounds of {@link ReplicaAnswers}. */
export interface WaitBounds {
  readonly jobs: number;
  readonly bytes: number;
  readonly waitMs: number;
}

const BOUNDS: WaitBounds = { jobs: MAX_WAITING_JOBS, bytes: MAX_WAITING_BYTES, waitMs: MAX_WAIT_MS };

/** The answers of a leader that wait for the replica. */
export class ReplicaAnswers {
  readonly #state: ReplicaState;
  readonly #epoch: () => number;
  readonly #bounds: WaitBounds;
  readonly #areModesKnown: () => boolean;
  /** By tenant, the oldest first. */
  readonly #waits = new Map<string, Wait[]>();
  #jobs = 0;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param epoch that commits are made under
   * @param areModesKnown false: any tenant may be `sync`
   */
  constructor(
    state: ReplicaState,
    epoch: () => number,
    bounds: WaitBounds = BOUNDS,
    areModesKnown: () => boolean = () => true,
  ) {
    this.#state = state;
    this.#epoch = epoch;
    this.#bounds = bounds;
    this.#areModesKnown = areModesKnown;
    state.onStored(({ tenant }, atMs) => this.#onStored(tenant, atMs));
  }

  /** Jobs whose answers wait. */
  get waiting(): number {
    return this.#jobs;
  }

  /** Whether all callers of a tenant wait. */
  isSync(tenant: string): boolean {
    return this.#state.modeOf(tenant) === 'sync';
  }

  /** Whether callers of a job are answered only when the replica has its commit. */
  concerns(tenant: string, jobId: string): boolean {
    if (isDurableJobId(jobId)) return true;
    return (this.isSync(tenant) || !this.#areModesKnown()) && !isReadJobId(jobId);
  }

  /** Whether a job that would wait must not begin now: {@link refusal} says why. */
  refuses(tenant: string): boolean {
    if (!this.#areModesKnown()) return true;
    const { configured, available } = this.#state;
    return !configured || !available || this.#isFull || this.#state.modeOf(tenant) === 'off';
  }

  /** The error of a job that {@link refuses}. */
  refusal(tenant: string): OnewriterError {
    const { configured, available } = this.#state;
    const refuse = (why: string, retryAfterMs?: number) =>
      new OnewriterError('REPLICA_UNAVAILABLE', `${why}; nothing was applied.`, { tenant, retryAfterMs });
    if (!this.#areModesKnown())
      return refuse('Which tenants wait for the replica is not read from its store yet', RETRY_AFTER_MS);
    if (!configured) return refuse('There is no replica (ONEWRITER_REPLICA_URL) that a write could wait for');
    if (this.#state.modeOf(tenant) === 'off')
      return refuse(`Tenant ${tenant} is not replicated: its durability is off`);
    if (!available) return refuse('The store of the replica does not answer', RETRY_AFTER_MS);
    return refuse('Too many writes wait for the store of the replica', RETRY_AFTER_MS);
  }

  get #isFull(): boolean {
    return this.#jobs >= this.#bounds.jobs || this.#bytes >= this.#bounds.bytes;
  }

  /**
   * Of a batch that is committed, the jobs whose callers are answered later.
   * @returns undefined where there are none, which is the usual case
   */
  chooseWaiting(tenant: string, outcomes: readonly JobOutcome[]): ReadonlySet<string> | undefined {
    const waiting = outcomes.filter(({ id, error }) => error === undefined && this.concerns(tenant, id));
    return waiting.length === 0 ? undefined : new Set(waiting.map(({ id }) => id));
  }

  /**
   * Resolves when the replica has the commit of these jobs.
   * @param incarnation of the file that has it
   * @returns when it had them, ms since the epoch; 0 where that was waited for in vain
   */
  whenStored(tenant: string, outcomes: readonly JobOutcome[], incarnation: string): Promise<number> {
    const commitSeq = Math.max(...outcomes.map(outcome => outcome.commitSeq));
    const isNothing = outcomes.every(
      ({ writes, failures, commitSeq: seq }) => seq === 0 || failures === writes,
    );
    // Nothing was committed.
    if (isNothing) return Promise.resolve(Date.now());
    const commit = { epoch: this.#epoch(), commitSeq, incarnation };
    const { configured, available } = this.#state;
    if (!configured || !available || this.#state.modeOf(tenant) === 'off') return Promise.resolve(0);
    if (isStored(this.#state.stored(tenant), commit)) return Promise.resolve(Date.now());
    const bytes = outcomes.reduce(
      (sum, { results, answer }) => sum + ANSWER_BYTES + results.length + (answer?.length ?? 0),
      0,
    );
    return new Promise(resolve => {
      const waits = this.#waits.get(tenant) ?? [];
      const endsAt = performance.now() + this.#bounds.waitMs;
      waits.push({ ...commit, jobs: outcomes.length, bytes, endsAt, resolve });
      this.#waits.set(tenant, waits);
      this.#jobs += outcomes.length;
      this.#bytes += bytes;
      this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
    });
  }

  #onStored(tenant: string, atMs: number): void {
    const upTo = this.#state.stored(tenant);
    if (this.#waits.has(tenant)) this.#end(tenant, atMs, wait => isStored(upTo, wait));
  }

  #look(): void {
    const now = performance.now();
    const { available } = this.#state;
    for (const tenant of [...this.#waits.keys()]) {
      const isOver = this.#state.modeOf(tenant) === 'off' || !available;
      this.#end(tenant, 0, wait => isOver || wait.endsAt <= now);
    }
  }

  #end(tenant: string, replicatedAt: number, isOver: (wait: Wait) => boolean): void {
    const left: Wait[] = [];
    for (const wait of this.#waits.get(tenant) ?? []) {
      if (!isOver(wait)) {
        left.push(wait);
        continue;
      }
      this.#jobs -= wait.jobs;
      this.#bytes -= wait.bytes;
      wait.resolve(replicatedAt);
    }
    if (left.length > 0) this.#waits.set(tenant, left);
    else this.#waits.delete(tenant);
    if (this.#waits.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
