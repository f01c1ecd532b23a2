import { summarizeWrites, type WriteSummary } from '@onewriter/protocol';

/** What one transaction after the other has written, for the history. */
export class TransactionWrites {
  /** Of the statements that ran: bits of WRITE_KINDS. */
  kinds = 0;
  readonly #by = new Map<string, number>();
  #writes = 0;
  #last: WriteSummary | undefined;

  begin(): void {
    this.kinds = 0;
    this.#writes = 0;
    this.#by.clear();
  }

  /** A write was applied. */
  add(who: string): void {
    this.#writes++;
    this.#by.set(who, (this.#by.get(who) ?? 0) + 1);
  }

  /** All of it is one write, also where its COMMIT is tried again. */
  setOnly(who: string): void {
    this.#writes = 0;
    this.#by.clear();
    this.add(who);
  }

  /** Undefined where the transaction had no caller's write. The same object where it is as the one before: it is sent with each commit. */
  summarize(): WriteSummary | undefined {
    if (this.#writes === 0) return undefined;
    const last = this.#last;
    const [first] = last?.by ?? [];
    const isSame =
      this.#by.size === 1 &&
      last?.by.length === 1 &&
      last.writes === this.#writes &&
      last.kinds === this.kinds &&
      this.#by.get(first![0]) === first![1];
    if (!isSame) this.#last = summarizeWrites(this.kinds, this.#writes, this.#by);
    return this.#last;
  }
}
