import assert from 'node:assert/strict';
import { LIMITS, OnewriterError, onAbort } from '@onewriter/protocol';
import { aborted } from '../waits.ts';

/** What a client may hold in memory. */
export interface BudgetLimits {
  readonly maxTenantOperations: number;
  readonly maxTenantBytes: number;
  readonly maxOperations: number;
  readonly maxBytes: number;
}

const DEFAULTS: BudgetLimits = Object.freeze({
  maxTenantOperations: LIMITS.maxClientTenantOperations,
  maxTenantBytes: LIMITS.maxClientTenantBytes,
  maxOperations: LIMITS.maxClientOperations,
  maxBytes: LIMITS.maxClientBytes,
});

/** Time in which a full buffer usually drains by a good part; a commit needs milliseconds. */
const RETRY_AFTER_MS = 100;

/** Who asks for room: the writes of one tenant. */
export interface RoomOwner {
  readonly tenant: string;
  /** Writes that it holds. */
  readonly held: number;
}

/** A write that waits for room. */
interface Waiter {
  readonly owner: RoomOwner;
  readonly bytes: number;
  /** Called when room is reserved for it. Its owner's `held` has to count it before this returns. */
  readonly grant: () => void;
  readonly refuse: (error: OnewriterError) => void;
}

/**
 * Counts the writes of a client that are not settled, and the bytes of those not yet accepted by the queue, per tenant and in all:
 * a gateway has one client for all tenants, and none may have its buffer alone.
 */
export class Budget {
  readonly #limits: BudgetLimits;
  operations = 0;
  bytes = 0;
  /** Bytes of each tenant that holds any. */
  readonly #tenantBytes = new Map<string, number>();
  #whenEmpty: (() => void)[] = [];
  /** In the order in which they asked. */
  #waiting: Waiter[] = [];

  constructor(limits: BudgetLimits = DEFAULTS) {
    this.#limits = limits;
  }

  /**
   * Reserves room for one write.
   * @throws OnewriterError BUFFER_FULL with `retryAfterMs`
   */
  take(owner: RoomOwner, bytes: number): void {
    const reached = this.#boundReached(owner, bytes);
    if (reached !== undefined) throw full(reached);
    this.operations++;
    this.#countBytes(owner, bytes);
  }

  /**
   * Reserves room for one write as soon as there is some. Writes of one owner get theirs in the order in which they asked; those of
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
    const reached = this.#boundReached(owner, bytes);
    if (reached === undefined && !this.#waiting.some(waiter => waiter.owner === owner)) {
      this.take(owner, bytes);
      onTaken();
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    let endWatch: (() => void) | undefined;
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
          () => leave(full(this.#boundReached(owner, bytes) ?? 'earlier writes of this tenant')),
          timeoutMs,
        );
        endWatch = signal && onAbort(signal, () => leave(aborted(signal)));
        this.#waiting.push(waiter);
      });
    } finally {
      clearTimeout(timer);
      endWatch?.();
    }
  }

  /** Refuses the writes that wait for room. */
  refuseWaiting(error: OnewriterError): void {
    for (const { refuse } of this.#waiting.splice(0)) refuse(error);
  }

  releaseBytes(owner: RoomOwner, bytes: number): void {
    this.#countBytes(owner, -bytes);
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
      if (blocked.has(owner) || this.#boundReached(owner, bytes) !== undefined) {
        blocked.add(owner);
        return true;
      }
      this.operations++;
      this.#countBytes(owner, bytes);
      grant();
      return false;
    });
  }

  /** The bound that leaves no room for one write more; undefined where there is room. */
  #boundReached({ tenant, held }: RoomOwner, bytes: number): string | undefined {
    const { maxTenantOperations, maxTenantBytes, maxOperations, maxBytes } = this.#limits;
    if (held >= maxTenantOperations) return `${maxTenantOperations} writes of this tenant`;
    if (this.operations >= maxOperations) return `${maxOperations} writes`;
    const tenantBytes = this.#tenantBytes.get(tenant) ?? 0;
    // One write that is larger than the bound goes alone.
    if (tenantBytes > 0 && tenantBytes + bytes > maxTenantBytes)
      return `${maxTenantBytes} bytes of this tenant`;
    return this.bytes + bytes > maxBytes && this.operations > 0 ? `${maxBytes} bytes` : undefined;
  }

  #countBytes({ tenant }: RoomOwner, bytes: number): void {
    this.bytes += bytes;
    const held = (this.#tenantBytes.get(tenant) ?? 0) + bytes;
    assert(held >= 0, 'More bytes were released than were reserved.');
    if (held === 0) this.#tenantBytes.delete(tenant);
    else this.#tenantBytes.set(tenant, held);
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
