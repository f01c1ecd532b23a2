import { setTimeout as delay } from 'node:timers/promises';
import { isOnewriterError, OnewriterError, type Tenant } from '@onewriter/sdk';

/** How {@link writeBounded} behaves. */
export interface WriteBoundedOptions {
  /**
   * Writes under way at once: the back-pressure. Enough that full jobs wait while one is
   * applied, well below what the SDK would hold for a tenant (LIMITS.maxClientTenantOperations).
   */
  readonly maxOutstanding: number;
  /** How long one write is tried again while the service asks for patience. */
  readonly patienceMs: number;
  /** Called after each write that is committed. */
  readonly onWritten: () => void;
}

const DEFAULTS: WriteBoundedOptions = Object.freeze({
  maxOutstanding: 4_000,
  patienceMs: 60_000,
  onWritten: () => {},
});

/** Wait before the next try where the error names none. */
const RETRY_AFTER_MS = 200;

/**
 * Writes all items, a bounded number at a time; resolves when all are committed. Each write is a small one of its
 * own: the SDK puts those that wait together into one job, the broker into one commit.
 *
 * @param write sends one item; called again for the same item only if the error says that nothing was applied.
 * @throws the first error that patience does not help against; other writes may have been committed.
 */
export async function writeBounded<Item>(
  tenant: Tenant,
  items: Iterable<Item>,
  write: (item: Item) => Promise<unknown>,
  options: Partial<WriteBoundedOptions> = {},
): Promise<void> {
  const { maxOutstanding, patienceMs, onWritten } = { ...DEFAULTS, ...options };
  // All writers read from one generator; where one leaves its loop by an error, the generator ends for the others.
  const source = takeFrom(items);
  const writers = Array.from({ length: maxOutstanding }, async () => {
    for (const item of source) {
      await writePatiently(tenant, () => write(item), patienceMs);
      onWritten();
    }
  });
  const ends = await Promise.allSettled(writers);
  const failure = ends.find(end => end.status === 'rejected');
  if (failure) throw failure.reason;
}

function* takeFrom<Item>(items: Iterable<Item>): Generator<Item, void, undefined> {
  yield* items;
}

async function writePatiently(
  tenant: Tenant,
  write: () => Promise<unknown>,
  patienceMs: number,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      await write();
      return;
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      if (error.code === 'OUTCOME_UNKNOWN' && error.details.receiptId !== undefined) {
        // It was sent: never send it again, ask what became of it.
        await tenant.receipt(error.details.receiptId).committed({ timeoutMs: patienceMs });
        return;
      }
      // TENANT_OVERLOADED, BUFFER_FULL, QUEUE_UNAVAILABLE …: nothing was applied, try again later.
      if (!error.retryable) throw error;
      const waitMs = error.details.retryAfterMs ?? RETRY_AFTER_MS;
      if (performance.now() + waitMs > deadline) {
        throw new OnewriterError(
          error.code,
          `${error.message} Gave up after ${patienceMs} ms.`,
          error.details,
        );
      }
      await delay(waitMs);
    }
  }
}
