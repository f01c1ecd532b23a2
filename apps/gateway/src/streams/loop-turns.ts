/**
 * Shares the event loop among streams: one of them works at a time, for a slice, and between two slices the loop serves all
 * other requests. Without it each stream works through what has arrived for it in the same turn of the loop, and with dozens of
 * them every other request waits for their sum.
 *
 *   next(a), next(a), next(b)  ──▶  a │ I/O │ b │ I/O │ a │ I/O …     tenants in turns, a tenant's streams in order
 */
export class LoopTurns {
  /** Those that wait, by tenant; the first tenant is next. */
  readonly #waiting = new Map<string, (() => void)[]>();
  #scheduled = false;

  /** Resolves when it is this tenant's turn: then work for a millisecond or two, and ask again. */
  next(tenant: string): Promise<void> {
    return new Promise(resolve => {
      const queue = this.#waiting.get(tenant);
      if (queue === undefined) this.#waiting.set(tenant, [resolve]);
      else queue.push(resolve);
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Behind the I/O of this turn of the loop; one that is asked for in the meantime comes in the next turn.
    setImmediate(() => {
      this.#scheduled = false;
      const [first] = this.#waiting;
      if (first === undefined) return;
      const [tenant, queue] = first;
      const resume = queue.shift();
      this.#waiting.delete(tenant);
      if (queue.length > 0) this.#waiting.set(tenant, queue);
      if (this.#waiting.size > 0) this.#schedule();
      resume?.();
    });
  }
}
