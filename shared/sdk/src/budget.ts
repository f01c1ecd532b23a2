import { LIMITS, OnewriterError } from '@onewriter/protocol';

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

/** Counts the writes of a client that are not settled, and the bytes of those not yet accepted by the queue. */
export class Budget {
  readonly #limits: BudgetLimits;
  operations = 0;
  bytes = 0;
  #whenEmpty: (() => void)[] = [];

  constructor(limits: BudgetLimits = DEFAULTS) {
    this.#limits = limits;
  }

  /**
   * Takes room for one write.
   * @param tenantOperations writes held for its tenant
   * @throws OnewriterError BUFFER_FULL with `retryAfterMs`
   */
  take(tenantOperations: number, bytes: number): void {
    const { maxTenantOperations, maxOperations, maxBytes } = this.#limits;
    if (tenantOperations >= maxTenantOperations) throw full(`${maxTenantOperations} writes of this tenant`);
    if (this.operations >= maxOperations) throw full(`${maxOperations} writes`);
    if (this.bytes + bytes > maxBytes && this.operations > 0) throw full(`${maxBytes} bytes`);
    this.operations++;
    this.bytes += bytes;
  }

  releaseBytes(bytes: number): void {
    this.bytes -= bytes;
  }

  releaseOperation(): void {
    if (--this.operations > 0) return;
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
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
