/** Counts what is under way. Costs the same however much that is. */
export class Slots {
  readonly #size: number;
  #taken = 0;
  #onFree: (() => void) | undefined;
  #onAllFree: (() => void) | undefined;

  /** @param size how many may be taken; {@link take} itself does not wait. */
  constructor(size: number) {
    this.#size = size;
  }

  take(): void {
    this.#taken++;
  }

  giveBack(): void {
    this.#taken--;
    if (this.#taken < this.#size) this.#onFree?.();
    if (this.#taken === 0) this.#onAllFree?.();
  }

  /** Resolves when a slot is free. For one waiter at a time. */
  async free(): Promise<void> {
    while (this.#taken >= this.#size) {
      await new Promise<void>(resolve => {
        this.#onFree = resolve;
      });
    }
  }

  /** Resolves when none is taken. For one waiter at a time. */
  async allFree(): Promise<void> {
    while (this.#taken > 0) {
      await new Promise<void>(resolve => {
        this.#onAllFree = resolve;
      });
    }
  }
}
