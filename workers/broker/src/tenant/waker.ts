import { availableParallelism } from 'node:os';
import {
  hibernatedError,
  OnewriterError,
  STATUS_TOP,
  type StatusHibernation,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import {
  type WakeRequest,
  type WakeThreadData,
  type WokenTenant,
  wakeThreadUrl,
} from '@onewriter/replicator';
import type { Logger } from '@onewriter/runtime';
import { Piscina } from 'piscina';

/** Callers of a tenant whose file takes longer are answered: TENANT_WAKING. */
const ANSWER_AFTER_MS = 10_000;
/** A file that takes longer is begun again. */
const MAX_WAKE_MS = 10 * 60_000;
const THREAD_IDLE_MS = 60_000;
const MAX_FAILING = 1_000;
const STOPPED = 'stopped';

/** Dependencies of {@link Waker}. */
export interface WakerOptions {
  /** Undefined: nothing is replicated here. */
  readonly data: WakeThreadData | undefined;
  /** Number of the newest commit that the store has of a tenant. */
  readonly storedPos: (tenant: string) => number | undefined;
  /** Whether this process may put files in place. */
  readonly mayPlace: () => boolean;
  readonly log: Logger;
  readonly onEnded?: ((outcome: WakeOutcome, ms: number) => void) | undefined;
  /** Entry file of the threads. */
  readonly threadUrl?: URL | undefined;
  readonly answerAfterMs?: number | undefined;
}

/** How a fetch ends. */
export type WakeOutcome = 'woken' | 'failed' | 'stopped';

/** A file on its way. */
interface Waking {
  readonly stop: AbortController;
  readonly done: Promise<WireError | undefined>;
}

/** Brings hibernated tenants' files back, each once, some at a time, in threads of their own. */
export class Waker {
  readonly #options: WakerOptions;
  readonly #waking = new Map<string, Waking>();
  /** Tenants whose last fetch failed, and why. */
  readonly #failing = new Map<string, string>();
  #pool: Piscina<WakeRequest, WokenTenant | undefined> | undefined;

  constructor(options: WakerOptions) {
    this.#options = options;
  }

  /** Tenants whose files are on their way. */
  get size(): number {
    return this.#waking.size;
  }

  get status(): Omit<StatusHibernation, 'tenants'> {
    const failed = [...this.#failing.entries()].slice(0, STATUS_TOP);
    return {
      ...{ waking: this.#waking.size, failing: this.#failing.size },
      failed: failed.map(([tenant, message]) => ({ tenant, message })),
    };
  }

  /**
   * Resolves when the tenant's file is here, or callers are to be answered.
   * @returns undefined where it is here; TENANT_WAKING where it is still on its way
   */
  async wake(tenant: string): Promise<WireError | undefined> {
    const { done } = this.#waking.get(tenant) ?? this.#begin(tenant);
    const { answerAfterMs = ANSWER_AFTER_MS } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<WireError>(resolve => {
      timer = setTimeout(() => resolve(toWireError(hibernatedError(tenant))), answerAfterMs);
    });
    try {
      return await Promise.race([done, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Another is about to work on the tenant's file: resolves when no file is on its way. */
  async stop(tenant: string): Promise<void> {
    const waking = this.#waking.get(tenant);
    waking?.stop.abort(STOPPED);
    await waking?.done;
    // It may be deleted; the next fetch says how it is.
    this.#failing.delete(tenant);
  }

  /** Idempotent. What is on its way ends; the tenants stay hibernated. */
  async close(): Promise<void> {
    for (const { stop } of this.#waking.values()) stop.abort(STOPPED);
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.destroy();
  }

  #begin(tenant: string): Waking {
    const stop = new AbortController();
    const done = this.#run(tenant, stop).finally(() => this.#waking.delete(tenant));
    const waking = { stop, done };
    this.#waking.set(tenant, waking);
    return waking;
  }

  /** Never throws. */
  async #run(tenant: string, stop: AbortController): Promise<WireError | undefined> {
    const { storedPos, mayPlace, log, onEnded } = this.#options;
    const beganAt = performance.now();
    const timer = setTimeout(() => stop.abort(), MAX_WAKE_MS);
    try {
      if (!mayPlace())
        throw new OnewriterError('BROKER_UNAVAILABLE', 'This broker does not lead now.', { tenant });
      const request: WakeRequest = { tenant, storedPos: storedPos(tenant) };
      const woken = await this.#threads(tenant).run(request, { signal: stop.signal });
      this.#failing.delete(tenant);
      if (woken !== undefined) {
        log.info(woken, 'A hibernated tenant is awake');
        onEnded?.('woken', performance.now() - beganAt);
      }
      return undefined;
    } catch (error) {
      const { code, message } = toWireError(error);
      // A broker that does not lead says nothing about the replica.
      const isStopped = stop.signal.reason === STOPPED || !mayPlace();
      if (!isStopped) {
        log.warn({ tenant, code }, `A hibernated tenant is not awake: ${message}`);
        if (this.#failing.size < MAX_FAILING) this.#failing.set(tenant, message);
      }
      onEnded?.(isStopped ? 'stopped' : 'failed', performance.now() - beganAt);
      return toWireError(notWoken(tenant, message, error));
    } finally {
      clearTimeout(timer);
    }
  }

  #threads(tenant: string): Piscina<WakeRequest, WokenTenant | undefined> {
    const { data, threadUrl = wakeThreadUrl } = this.#options;
    if (data === undefined) {
      const message = 'It lies in a replica, and this broker has none: set ONEWRITER_REPLICA_URL as it was.';
      throw new OnewriterError('MISCONFIGURED', message, { tenant });
    }
    this.#pool ??= new Piscina({
      ...{ filename: threadUrl.href, workerData: data, recordTiming: false },
      ...{ minThreads: 0, maxThreads: Math.max(2, availableParallelism()), idleTimeout: THREAD_IDLE_MS },
    });
    return this.#pool;
  }
}

/** Its writes are not applied, and are tried again: the store may be away. */
function notWoken(tenant: string, why: string, cause: unknown): OnewriterError {
  const message = `Tenant ${tenant} is hibernated, and its file does not come from the replica: ${why}`;
  return new OnewriterError('REPLICA_UNAVAILABLE', message, { tenant, reason: 'hibernated' }, cause);
}
