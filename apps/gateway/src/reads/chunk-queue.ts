import type { OnewriterError, SqlValue } from '@onewriter/protocol';

/**
 * Chunks between a process and the loop that reads them. The process sends a window of them and waits for {@link onTaken}:
 * that bounds the queue.
 */
export class ChunkQueue implements AsyncIterable<SqlValue[][]> {
  onTaken: () => void = () => {};
  onLeft: () => void = () => {};
  readonly #chunks: SqlValue[][][] = [];
  #ended = false;
  #error: OnewriterError | undefined;
  #wake: (() => void) | undefined;

  push(chunk: SqlValue[][]): void {
    this.#chunks.push(chunk);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: OnewriterError): void {
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SqlValue[][], void, undefined> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          this.onTaken();
          yield chunk;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else {
          await new Promise<void>(resolve => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      if (!this.#ended && this.#error === undefined) this.onLeft();
    }
  }
}
