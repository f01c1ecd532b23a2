import type { CaptureMessage } from '@onewriter/writer';

/** What came from one thread, in the order of its numbers, and what of it is neither stored nor of no use. */
export class SentMessages {
  readonly #open = new Set<bigint>();
  #last = 0n;

  /** It was received. Only a piece of a log has to be stored. */
  note({ kind, order }: CaptureMessage): void {
    this.#last = order;
    if (kind === 'log') this.#open.add(order);
  }

  /** @returns whether it was open */
  settle(order: bigint): boolean {
    return this.#open.delete(order);
  }

  get hasOpen(): boolean {
    return this.#open.size > 0;
  }

  /** Up to this number, nothing is open. */
  get done(): bigint {
    const [first] = this.#open;
    return first === undefined ? this.#last : first - 1n;
  }
}
