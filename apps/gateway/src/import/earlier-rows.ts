import { type ImportMark, OnewriterError } from '@onewriter/protocol';
import { asOnewriterError } from '../http/error-response.ts';
import type { HeldRow } from './held-rows.ts';
import { type ImportCount, refusedBefore } from './import-count.ts';
import { pauseAfter, RETRY_FOR_MS } from './import-mark.ts';
import type { ImportOptions } from './import-options.ts';
import { sendPiece } from './send-piece.ts';

/** Refused rows of an earlier request that wait until it is known whether they may be tried again. */
const MAX_AGAIN_BYTES = 1024 * 1024;

/**
 * The rows behind the mark that an earlier request under the same key left. They were settled then: they are only compared, and
 * those that were refused are tried again when the others turned out to be the same.
 */
export class EarlierRows {
  readonly #mark: ImportMark;
  readonly #refused: ReadonlySet<number>;
  readonly #count: ImportCount;
  readonly #options: ImportOptions & { readonly maxPieceRows: number };
  readonly #again: HeldRow[] = [];
  #againBytes = 0;

  constructor(
    mark: ImportMark,
    count: ImportCount,
    options: ImportOptions & { readonly maxPieceRows: number },
  ) {
    this.#mark = mark;
    this.#refused = new Set(mark.r);
    this.#count = count;
    this.#options = options;
  }

  /** Whether a row is behind the mark. */
  has(number: number): boolean {
    return number < this.#mark.n;
  }

  /** Takes the next row behind the mark. @throws OnewriterError IDEMPOTENCY_KEY_REUSED */
  pass(held: HeldRow): void {
    if (!this.#refused.has(held.number)) {
      if (held.hash === undefined) throw differs(`line ${held.line} was a good row then`);
      this.#count.skip(held);
      return;
    }
    if (held.row === undefined || this.#againBytes >= MAX_AGAIN_BYTES) {
      held.error ??= refusedBefore();
      this.#count.reject(held);
      return;
    }
    this.#again.push(held);
    this.#againBytes += held.bytes;
  }

  /**
   * All rows behind the mark were read: if they are the same as then, those that were refused are tried again.
   * @param isEnded whether no more may be sent
   * @throws OnewriterError IDEMPOTENCY_KEY_REUSED; what the sending of a piece failed with
   */
  async end(isEnded: () => boolean): Promise<void> {
    const { n, h } = this.#mark;
    if (this.#count.rows < n) throw differs(`it had ${n} rows or more`);
    if (this.#count.hash !== h) throw differs(`of its first ${n} rows some are not the same`);
    const { maxPieceRows } = this.#options;
    for (let from = 0; from < this.#again.length && !isEnded(); from += maxPieceRows) {
      await this.#tryAgain(this.#again.slice(from, from + maxPieceRows), isEnded);
    }
  }

  async #tryAgain(rows: HeldRow[], isEnded: () => boolean): Promise<void> {
    const { assertMayWrite, stop, gone } = this.#options;
    let left = rows;
    for (let since: number | undefined; left.length > 0; ) {
      await assertMayWrite();
      try {
        const numbers = left.map(({ number }) => number);
        const result = await sendPiece(this.#options, left, numbers);
        this.#count.note(result);
        const refused = new Set(
          result.type === 'applied' ? result.refused.map(({ row }) => row) : result.mark.r,
        );
        for (const held of left) if (!refused.has(held.number)) this.#count.accept(held);
        left = left.filter(({ number }) => refused.has(number));
        if (result.type === 'elsewhere') continue;
        for (const held of left) this.#count.reject(held);
        return;
      } catch (thrown) {
        const error = asOnewriterError(thrown);
        since ??= performance.now();
        const again = error.retryable || error.code === 'OUTCOME_UNKNOWN';
        const isOver = stop.aborted || isEnded() || performance.now() - since >= RETRY_FOR_MS;
        if (again && !isOver) {
          await pauseAfter(error, gone);
        } else if (!again && error.status < 500 && error.code !== 'IDEMPOTENCY_KEY_REUSED') {
          if (left.length === 1) {
            left[0]!.error = error;
            this.#count.reject(left[0]!);
            return;
          }
          const middle = Math.ceil(left.length / 2);
          await this.#tryAgain(left.slice(0, middle), isEnded);
          left = left.slice(middle);
        } else {
          if (error.code === 'OUTCOME_UNKNOWN') this.#count.lose(left.length);
          throw error;
        }
      }
    }
  }
}

function differs(how: string): OnewriterError {
  return new OnewriterError(
    'IDEMPOTENCY_KEY_REUSED',
    `The file is not the one that was imported under this key: ${how}. Use a key of its own for another file.`,
  );
}
