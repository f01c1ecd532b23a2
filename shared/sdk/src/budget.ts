import { LIMITS, OnewriterError } from '@onewriter/protocol';
import { aborted } from './deadline.ts';

/** What a client may hold in memory. */
export interface BudgetLimits {
  readonly maxTenantOperations: number;
  readonly maxOperations: number;
  readonly maxBytes: number;
}

const DEFAULTS: BudgetLimits = Object.freeze({
  maxTenantOperations: LIMITS.maxClientTenantOperations,
  maxOperations: LIMITS.maxClientOperations,
  maxBytes: LIMITS.maxClientBytes,
});

/** Time in which a full buffer has usually drained by a good part; a commit takes milliseconds. */
const RETRY_AFTER_MS = 100;

/** Who asks for room: the writes of one tenant. */
export interface RoomOwner {
  /** Writes that it holds. */
  readonly held: number;
}

/** A write that waits for room. */
interface Waiter {
  readonly owner: RoomOwner;
  readonly bytes: number;
  /** Room was taken for it. Its owner's `held` has to count it before this returns. */
  readonly grant: () => void;
  readonly refuse: (error: OnewriterError) => void;
}

/** Counts the writes of a client that are not settled, and the bytes of those not yet accepted by the queue. */
export class Budget {
  readonly #limits: BudgetLimits;
  operations = 0;
  bytes = 0;
  #whenEmpty: (() => void)[] = [];
  /** In the order in which they asked. */
  #waiting: Waiter[] = [];

  constructor(limits: BudgetLimits = DEFAULTS) {
    this.#limits = limits;
  }

  /**
   * Takes room for one write.
   * @param tenantOperations writes held for its tenant
   * @throws OnewriterError BUFFER_FULL with `retryAfterMs`
   */
  take(tenantOperations: number, bytes: number): void {
    const reached = this.#boundReached(tenantOperations, bytes);
    if (reached !== undefined) throw full(reached);
    this.operations++;
    this.bytes += bytes;
  }

  /**
   * Takes room for one write as soon as there is some. Writes of one owner get theirs in the order in which they asked; those of
   * others do not wait for them.
   * @param onTaken called at the same moment, so that the owner's `held` counts the write
   * @throws OnewriterError BUFFER_FULL after `timeoutMs`; the error of {@link refuseWaiting}; the reason of `signal`
   */
  async takeWhenFree(
    owner: RoomOwner,
    bytes: number,
    onTaken: () => void,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const reached = this.#boundReached(owner.held, bytes);
    if (reached === undefined && !this.#waiting.some(waiter => waiter.owner === owner)) {
      this.take(owner.held, bytes);
      onTaken();
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter: Waiter = {
          owner,
          bytes,
          grant: () => {
            onTaken();
            resolve();
          },
          refuse: reject,
        };
        const leave = (error: OnewriterError) => {
          this.#waiting = this.#waiting.filter(other => other !== waiter);
          reject(error);
          // Those behind it may be smaller.
          this.#grantWaiting();
        };
        timer = setTimeout(
          () => leave(full(this.#boundReached(owner.held, bytes) ?? 'earlier writes of this tenant')),
          timeoutMs,
        );
        onAbort = () => leave(aborted(signal));
        signal?.addEventListener('abort', onAbort, { once: true });
        this.#waiting.push(waiter);
      });
    } finally {
      clearTimeout(timer);
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Refuses the writes that wait for room. */
  refuseWaiting(error: OnewriterError): void {
    for (const { refuse } of this.#waiting.splice(0)) refuse(error);
  }

  releaseBytes(bytes: number): void {
    this.bytes -= bytes;
    this.#grantWaiting();
  }

  releaseOperation(): void {
    this.operations--;
    this.#grantWaiting();
    if (this.operations > 0) return;
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }

  #grantWaiting(): void {
    if (this.#waiting.length === 0) return;
    const blocked = new Set<RoomOwner>();
    this.#waiting = this.#waiting.filter(({ owner, bytes, grant }) => {
      if (blocked.has(owner) || this.#boundReached(owner.held, bytes) !== undefined) {
        blocked.add(owner);
        return true;
      }
      this.operations++;
      this.bytes += bytes;
      grant();
      return false;
    });
  }

  /** The bound that leaves no room for one write more; undefined where there is room. */
  #boundReached(tenantOperations: number, bytes: number): string | undefined {
    const { maxTenantOperations, maxOperations, maxBytes } = this.#limits;
    if (tenantOperations >= maxTenantOperations) return `${maxTenantOperations} writes of this tenant`;
    if (this.operations >= maxOperations) return `${maxOperations} writes`;
    return this.bytes + bytes > maxBytes && this.operations > 0 ? `${maxBytes} bytes` : undefined;
  }

  /** Resolves when no write is held, or after `timeoutMs`. */
  async empty(timeoutMs: number): Promise<void> {
    if (this.operations === 0) return;
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#whenEmpty.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

function full(what: string): OnewriterError {
  return new OnewriterError('BUFFER_FULL', `This client already holds ${what} that are not settled.`, {
    retryAfterMs: RETRY_AFTER_MS,
  });
}
