import { OnewriterError, RowsHash, toWireError } from '@onewriter/protocol';
import type { ImportPieceResult } from '@onewriter/sdk';
import type { HeldRow } from './held-rows.ts';
import type { ImportEvent, ImportProgress } from './import-options.ts';

/** What an import has done so far: the numbers of its answer, and the rows that it rejects. */
export class ImportCount {
  readonly #maxRejected: number;
  readonly #statements: boolean;
  readonly #fail: (error: OnewriterError) => void;
  readonly #rejections: ImportEvent[] = [];
  /** Hash of all rows that were applied, now or before. */
  readonly #hash = new RowsHash();
  /** Errors of rows, for those whose piece was settled by its mark. */
  readonly #errors = new Map<number, OnewriterError>();
  #rows = 0;
  #accepted = 0;
  #ignored = 0;
  #skipped = 0;
  #rejected = 0;
  #unknown = 0;
  #commitSeq = 0;

  /**
   * @param fail called where more rows are rejected than may be
   * @param statements whether the rows are statements, of which the first that is rejected is the reason of the end
   */
  constructor(maxRejected: number, fail: (error: OnewriterError) => void, statements = false) {
    this.#maxRejected = maxRejected;
    this.#statements = statements;
    this.#fail = fail;
  }

  /** Rows that were read. */
  get rows(): number {
    return this.#rows;
  }

  get hash(): string {
    return this.#hash.toString();
  }

  get progress(): ImportProgress {
    return {
      rows: this.#rows,
      accepted: this.#accepted,
      ignored: Math.min(this.#ignored, this.#accepted),
      skipped: this.#skipped,
      rejected: this.#rejected,
      unknown: this.#unknown,
      commitSeq: this.#commitSeq,
    };
  }

  /** Counts a row that is read. @returns its number */
  read(): number {
    return this.#rows++;
  }

  accept(held: HeldRow): void {
    this.#accepted++;
    this.#hash.toggle(held.hash!);
  }

  /** A row that an earlier request has committed. */
  skip(held: HeldRow): void {
    this.#skipped++;
    this.#hash.toggle(held.hash!);
  }

  reject(held: HeldRow): void {
    this.#rejected++;
    const error = held.error ?? this.#errors.get(held.number) ?? refusedBefore();
    this.#errors.delete(held.number);
    if (this.#rejected > this.#maxRejected) {
      if (this.#statements) this.#fail(atLine(error, held.line));
      else this.endAt(held.line);
      return;
    }
    this.#rejections.push({
      event: 'rejected',
      row: held.number,
      line: held.line,
      error: toWireError(error),
    });
  }

  /** It is not known whether these rows were committed. */
  lose(rows: number): void {
    this.#unknown += rows;
  }

  /** Too many rows were rejected. */
  endAt(line: number): void {
    const message = `More than ${this.#maxRejected} rows were rejected; the import ended at line ${line}.`;
    this.#fail(new OnewriterError('INVALID_ARGUMENT', message, { line }));
  }

  /** All that is settled is in the file as of this commit. */
  reach(commitSeq: number): void {
    this.#commitSeq = Math.max(this.#commitSeq, commitSeq);
  }

  /** Takes what the result of a piece says, but for which of its rows are accepted. */
  note(result: ImportPieceResult): void {
    this.reach(result.commitSeq);
    if (result.type !== 'applied') return;
    this.#ignored += result.ignored;
    for (const { row, error } of result.refused) this.#errors.set(row, error);
  }

  /** Rows of a piece that were committed before: they will be counted as accepted. */
  knowBefore(rows: number): void {
    this.#skipped += rows;
    this.#accepted -= rows;
  }

  takeRejections(): ImportEvent[] {
    return this.#rejections.splice(0);
  }
}

export function refusedBefore(): OnewriterError {
  return new OnewriterError('CONSTRAINT_VIOLATION', 'The row was refused; the reason was not kept.');
}

function atLine({ code, message, details }: OnewriterError, line: number): OnewriterError {
  return new OnewriterError(code, `Line ${line}: ${message}`, { ...details, line });
}
