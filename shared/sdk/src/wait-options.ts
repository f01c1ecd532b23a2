/** How long the caller waits. */
export interface WaitOptions {
  /** The caller is settled after this at the latest. Up to LIMITS.maxTimeoutMs; default `writeTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait: ABORTED where the write was never sent, else OUTCOME_UNKNOWN with a receipt id. */
  readonly signal?: AbortSignal | undefined;
}
