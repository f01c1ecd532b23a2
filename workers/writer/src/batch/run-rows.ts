import {
  decodeExactValue,
  hashRow,
  type ImportMark,
  LIMITS,
  NO_MARK,
  OnewriterError,
  RowsHash,
  toWireError,
  type WireError,
  type WireImport,
  type WireRow,
  type WireRowsOperation,
} from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { isFileError, translateError } from './sqlite-errors.ts';
import { compileStatement } from './statement-cache.ts';

/** The position of a piece of an import; as an OperationPlace. */
interface RowsPlace {
  readonly jobId: string;
  readonly op: number;
  readonly nowMs: number;
}

/**
 * Applies a piece of an import if it begins at the import's mark, and moves the mark. Each row has its own savepoint, so that a
 * refused row affects no other. For the import itself see `import-rows.ts` of the protocol.
 *
 * @param budgetBytes bound of the errors of refused rows, encoded.
 * @returns JSON of a WireRowsResult.
 * @throws OnewriterError IDEMPOTENCY_KEY_REUSED, INVALID_ARGUMENT, RESULT_TOO_LARGE; errors that are not about a row (a full
 * disk). The caller rolls back then.
 */
export function runRows(
  database: TenantDatabase,
  sql: readonly string[],
  { w: rows, m: piece }: WireRowsOperation,
  place: RowsPlace,
  budgetBytes: number,
): string {
  assertRows(rows, piece);
  const { keys, runner } = database;
  const mark = keys.findMark(piece.k, piece.f) ?? NO_MARK;
  if (!fits(piece.at, mark)) {
    if (piece.a === 1) throw usedMeanwhile();
    return JSON.stringify({ m: mark });
  }
  const run = new RowsRun(database, sql, piece, mark, budgetBytes);
  rows.forEach((row, index) => {
    run.apply(index, row);
  });
  runner.forgetLastRowid();
  keys.storeMark(piece.k, piece.f, place.jobId, place.op, place.nowMs, run.mark);
  return run.toJson();
}

/** Whether to apply a piece now: it begins at the mark, or has rows that were refused. */
function fits(at: WireImport['at'], mark: ImportMark): boolean {
  return typeof at === 'number' ? at === mark.n : at.every(number => mark.r.includes(number));
}

class RowsRun {
  readonly #database: TenantDatabase;
  readonly #sql: readonly string[];
  readonly #piece: WireImport;
  readonly #from: number;
  /** Numbers of rows that are tried again; undefined where the piece begins at the mark. */
  readonly #again: readonly number[] | undefined;
  readonly #hash: RowsHash;
  readonly #refused: Set<number>;
  readonly #errors: (readonly [number, WireError])[] = [];
  /** Rows of this import have keys of their own: an older version began it. */
  readonly #hasRowKeys: boolean;
  #applied = 0;
  #ignored = 0;
  #known = 0;
  #next: number;
  #bytesLeft: number;

  constructor(
    database: TenantDatabase,
    sql: readonly string[],
    piece: WireImport,
    mark: ImportMark,
    budgetBytes: number,
  ) {
    this.#database = database;
    this.#sql = sql;
    this.#piece = piece;
    this.#from = mark.n;
    this.#again = typeof piece.at === 'number' ? undefined : piece.at;
    this.#hash = new RowsHash(mark.h);
    this.#hash.toggleAll(new RowsHash(piece.h));
    this.#refused = new Set(mark.r);
    this.#hasRowKeys = database.keys.hasRowKeys(piece.k);
    this.#next = mark.n;
    this.#bytesLeft = budgetBytes;
  }

  get mark(): ImportMark {
    return { n: this.#next, h: this.#hash.toString(), r: [...this.#refused] };
  }

  toJson(): string {
    const known = this.#known === 0 ? '' : `,"s":${this.#known}`;
    const ignored = this.#ignored === 0 ? '' : `,"i":${this.#ignored}`;
    const errors = this.#errors.length === 0 ? '' : `,"r":${JSON.stringify(this.#errors)}`;
    return `{"w":${this.#applied}${known}${ignored},"n":${this.#next}${errors}}`;
  }

  apply(index: number, row: WireRow): void {
    const number = this.#again?.[index] ?? this.#from + index;
    if (this.#again === undefined) {
      if (this.#refused.size > this.#piece.max) {
        // The piece ends before this row, whose hash is in the piece's.
        this.#takeOut(number, row);
        return;
      }
      this.#next = number + 1;
    }
    if (row === 0) {
      this.#refused.add(number);
    } else if (this.#hasRowKeys && this.#database.keys.has(rowKey(this.#piece.k, number))) {
      this.#known++;
      this.#refused.delete(number);
    } else {
      const error = this.#tryRow(row);
      if (error === undefined) {
        this.#applied++;
        this.#refused.delete(number);
      } else this.#refuse(number, row, error);
    }
  }

  /** @returns why the row is refused; undefined: it was applied. */
  #tryRow([text, ...values]: Exclude<WireRow, 0>): OnewriterError | undefined {
    const { db, runner, statements, stepControl } = this.#database;
    stepControl.statement.run();
    try {
      const sql = this.#textAt(text);
      // A statement of a dump comes once: it must not push out those that come again.
      const compiled = this.#piece.s === 1 ? compileStatement(db, sql) : statements.get(sql);
      if (this.#piece.s !== 1 && (!compiled.inserts || compiled.returnsRows))
        throw malformed('The row comes with a statement that is no plain INSERT.');
      // Each row counts as a write: the connection's counters, as triggers see them, restart with it.
      runner.startAnew(compiled.asksTotal);
      const changes = runner.runForEffect(compiled, values.map(decodeExactValue));
      if (changes === 0 && this.#piece.s !== 1) this.#ignored++;
      stepControl.releaseStatement.run();
      return undefined;
    } catch (thrown) {
      const error = translateError(thrown);
      // Not an error of this row: the others would fail, too.
      if (!db.inTransaction || isFileError(error) || error.retryable || error.status >= 500) throw thrown;
      stepControl.rollbackToStatement.run();
      stepControl.releaseStatement.run();
      this.#database.schema.undone();
      return error;
    }
  }

  #refuse(number: number, row: WireRow, error: OnewriterError): void {
    if (this.#piece.a === 1) {
      throw new OnewriterError(error.code, error.message, { ...error.details, row: number }, error.cause);
    }
    this.#takeOut(number, row);
    this.#refused.add(number);
    const wire = toWireError(error);
    this.#bytesLeft -= JSON.stringify(wire).length + 24;
    if (this.#bytesLeft < 0) {
      throw new OnewriterError(
        'RESULT_TOO_LARGE',
        'The errors of the refused rows are too long for an answer.',
      );
    }
    this.#errors.push([number, wire]);
  }

  #takeOut(number: number, row: WireRow): void {
    if (row === 0) return;
    const [text, ...values] = row;
    this.#hash.toggle(hashRow(number, this.#textAt(text), JSON.stringify(values).slice(1, -1)));
  }

  #textAt(index: number): string {
    const text = this.#sql[index];
    if (typeof text === 'string') return text;
    throw malformed('A row refers to an SQL text that the job does not carry.');
  }
}

/** The key that an older version gave each row. */
function rowKey(key: string, number: number): string {
  return `${key}:${number}`;
}

/** Refuses a message that no SDK of this project sends. */
function assertRows(rows: unknown, piece: Partial<WireImport> | null | undefined): void {
  const at = piece?.at;
  const isRow = (row: unknown) => row === 0 || (Array.isArray(row) && typeof row[0] === 'number');
  const isNumber = (number: unknown) => Number.isSafeInteger(number) && (number as number) >= -1;
  if (
    !Array.isArray(rows) ||
    rows.length > LIMITS.maxImportPieceRows ||
    !rows.every(isRow) ||
    typeof piece?.k !== 'string' ||
    typeof piece.f !== 'string' ||
    !/^[0-9a-f]{32}$/.test(String(piece.h)) ||
    !isNumber(piece.max) ||
    piece.max! > LIMITS.maxImportRefused ||
    (Array.isArray(at) ? at.length !== rows.length || !at.every(isNumber) : !isNumber(at))
  ) {
    throw malformed('The piece of an import is malformed.');
  }
}

function usedMeanwhile(): OnewriterError {
  return new OnewriterError('IDEMPOTENCY_KEY_REUSED', 'Another import used the idempotency key meanwhile.');
}

function malformed(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
