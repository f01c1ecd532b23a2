import type { StarvedSpan } from '../starvation.ts';

/** What a run is judged by. */
export interface OracleOptions {
  readonly dataDir: string;
  readonly tenants: readonly string[];
  /** How much later than its deadline a caller may be answered, apart from what the machine took. Default: 100. */
  readonly slackMs?: number | undefined;
  /** When the gateway waited for a CPU; of clients themselves the journals say it. Default: never. */
  readonly gatewayStarved?: readonly StarvedSpan[] | undefined;
  /** Accepted writes may be lost where Redis itself lost them: accepted in one of these spans of time. */
  readonly acceptedMayBeLost?: readonly TimeSpan[] | undefined;
  /** Acknowledged writes may be lost where the machine was: answered in one of these spans of time. */
  readonly commitsMayBeLost?: readonly TimeSpan[] | undefined;
  /**
   * Whether callers may be left in doubt at all; `gateway`: only those whose HTTP connection broke. Default: true.
   */
  readonly unknownAllowed?: boolean | 'gateway' | undefined;
  /** Whether old rows of the ledger may be gone: clocks jumped by more than its retention. Default: false. */
  readonly ledgerMayBePruned?: boolean | undefined;
  /** Whether reads may see an older state: the file was replaced under a reader. Default: false. */
  readonly staleReadsAllowed?: boolean | undefined;
  /** Codes that are neither retryable nor the write's own fault, and that this fault excuses. */
  readonly excusedCodes?: readonly string[] | undefined;
  /** Tenants whose files this fault damages: they are not looked into. */
  readonly damagedTenants?: readonly string[] | undefined;
}

/** A span of time, by {@link monotonicMs}. */
export interface TimeSpan {
  readonly from: number;
  readonly to: number;
}
