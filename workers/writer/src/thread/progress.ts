/** Size of {@link WriterOptions.progress}. */
export const PROGRESS_BYTES = 5 * Int32Array.BYTES_PER_ELEMENT;

/** Publishes the thread's position; the layout is {@link WriterOptions.progress}. */
export class Progress {
  readonly #cells: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Int32Array(buffer);
  }

  taskBegins(): void {
    this.at(0, 0);
    this.atFiles(true);
    Atomics.store(this.#cells, 0, 1);
  }

  taskEnds(): void {
    Atomics.store(this.#cells, 0, 0);
  }

  /** @param is whether it opens, commits, writes back or closes files; false: it runs a write. */
  atFiles(is: boolean): void {
    Atomics.store(this.#cells, 4, is ? 1 : 0);
  }

  /** @param job index in the task. @param op index in the job. */
  at(job: number, op: number): void {
    Atomics.store(this.#cells, 1, job);
    Atomics.store(this.#cells, 2, op);
  }

  /** Begins task `item` of a group. @returns false where it was revoked. */
  claim(item: number): boolean {
    return Atomics.compareExchange(this.#cells, 3, item, item + 1) === item;
  }
}
