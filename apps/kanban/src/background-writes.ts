/** Writes under way without a waiting caller; more are not started. The SDK has its own bound behind this one. */
const MAX_PENDING = 10_000;

/**
 * Writes that no request waits for: the activity log and the points. A lost line of the log is not worth a
 * person's wait, but it is worth a line in the process's own log. Once a write is accepted by the queue, its
 * failure is found in the dead letters.
 */
export class BackgroundWrites {
  readonly #pending = new Set<Promise<void>>();
  readonly #report: (error: unknown) => void;

  /** @param report called once for each write that was not accepted */
  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  /** Starts a write and returns at once. */
  start(write: () => Promise<unknown>): void {
    if (this.#pending.size >= MAX_PENDING) {
      this.#report(new Error(`${MAX_PENDING} background writes are under way; one was dropped.`));
      return;
    }
    const pending: Promise<void> = write()
      .then(() => {}, this.#report)
      .finally(() => this.#pending.delete(pending));
    this.#pending.add(pending);
  }

  /** Resolves when the queue has accepted or refused everything started so far. */
  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }
}
