import {
  hashRow,
  type ImportMark,
  LIMITS,
  OnewriterError,
  type RowHash,
  RowsHash,
  toWireError,
} from '@onewriter/protocol';
import type { ImportPiece, ImportPieceResult, ImportRow as SentRow } from '@onewriter/sdk';
import { asOnewriterError } from '../http/error-response.ts';
import { brokeOff } from '../streams/read-lines.ts';
import type { StreamRoom } from '../streams/stream-room.ts';
import { askMark, pauseAfter, RETRY_FOR_MS } from './import-mark.ts';
import {
  type ImportEvent,
  type ImportOptions,
  type ImportProgress,
  PROGRESS_EVERY_MS,
} from './import-options.ts';
import type { ParsedRow } from './parse-rows.ts';

/*
 * An import, row by row: each row is applied or refused alone. Rows travel in pieces; the writer applies a piece only where the
 * import's mark is, so that pieces can be on their way before the last is settled, and sent again when in doubt:
 *
 *   row   0 … 499 | 500 … 999 | 1000 … 1499 | 1500 …
 *         settled │ on their way            │ read
 *                 └ the mark, as far as it is known
 *
 * What does not come back as expected (an error, a piece that begins elsewhere than the mark) ends the sending; when nothing is
 * on its way any more the mark is asked for, and the sending begins again there.
 */

const MAX_PIECE_BYTES = 512 * 1024;
/** Refused rows of an earlier request that wait until it is known whether they may be tried again. */
const MAX_AGAIN_BYTES = 1024 * 1024;
const MAX_PIECES_UNDER_WAY = 4;
/** Rows under way in pieces that are small because of their rows. */
const MAX_SMALL_PIECE_ROWS = 2 * LIMITS.maxImportPieceRows;

/** Settings of {@link importRows}. */
export interface RowImportOptions extends ImportOptions {
  /** Rows of a piece: 1 where a row must be judged alone also by what is checked at a COMMIT. */
  readonly maxPieceRows: number;
  /** Bounds the rows that are read and not settled; closed when the import ends. */
  readonly room: StreamRoom;
}

/**
 * Writes rows into tables: a row that is refused takes no other with it. Reading waits while too much is under way.
 * @param pieces of rows, in order; an error thrown by it ends the import after what was read before
 */
export async function* importRows(
  pieces: AsyncIterable<readonly ParsedRow[]>,
  options: RowImportOptions,
): AsyncGenerator<ImportEvent, void, undefined> {
  const run = new RowImport(options);
  const { idempotencyKey } = options;
  let failure: OnewriterError | undefined;
  let reportedAt = performance.now();
  let isRead = false;
  try {
    await run.begin();
    for await (const rows of pieces) {
      await options.assertMayWrite();
      for (const row of rows) {
        await run.add(row);
        if (run.failure !== undefined) break;
      }
      yield* run.takeRejections();
      if (run.failure !== undefined) break;
      if (performance.now() - reportedAt < PROGRESS_EVERY_MS) continue;
      reportedAt = performance.now();
      yield { event: 'progress', idempotencyKey, ...run.progress };
    }
    if (run.failure === undefined) await run.endOfFile();
    isRead = true;
  } catch (error) {
    // Where the sender is gone, that is the reason of all others.
    failure = run.failure ?? asOnewriterError(error);
    isRead = failure.code !== 'ABORTED';
  } finally {
    // Its sender is gone, or the reader of its answer: what was not sent stays unsent.
    if (!isRead) run.halt();
    await run.finished();
    run.close();
  }
  yield* run.takeRejections();
  failure ??= run.failure;
  if (failure !== undefined) {
    yield { event: 'failed', idempotencyKey, error: toWireError(failure), ...run.progress };
  } else yield { event: options.stop.aborted ? 'interrupted' : 'done', idempotencyKey, ...run.progress };
}

/** A row that is read and not settled. */
interface HeldRow {
  readonly number: number;
  readonly line: number;
  readonly bytes: number;
  /** undefined: it cannot be sent; then there is an error. */
  row: SentRow | undefined;
  readonly hash: RowHash | undefined;
  error: OnewriterError | undefined;
}

/** A piece on its way. */
interface Flight {
  readonly rows: readonly HeldRow[];
  result?: ImportPieceResult | undefined;
  error?: OnewriterError | undefined;
}

class RowImport {
  failure: OnewriterError | undefined;
  readonly #options: RowImportOptions;
  readonly #rejections: ImportEvent[] = [];
  #rows = 0;
  #accepted = 0;
  #ignored = 0;
  #skipped = 0;
  #rejected = 0;
  #unknown = 0;
  #commitSeq = 0;
  /** Rows that are held, in order, those on their way first. */
  #held: HeldRow[] = [];
  #heldBytes = 0;
  #sent = 0;
  readonly #flights: Flight[] = [];
  /** Hash of all rows that were applied, now or before. */
  #hash = new RowsHash();
  /** The mark that an earlier request left; undefined once it is passed. */
  #earlier: ImportMark | undefined;
  #earlierRefused = new Set<number>();
  /** Rows behind that mark that are tried again when the others turned out to be the same. */
  readonly #again: HeldRow[] = [];
  #againBytes = 0;
  /** Errors of rows, for those whose piece was settled by its mark. */
  readonly #errors = new Map<number, OnewriterError>();
  /** Up to this row pieces are smaller. */
  #smallPieces: { readonly to: number; readonly rows: number } = { to: 0, rows: 1 };
  #recovery: Promise<void> | undefined;
  #failingSince: number | undefined;
  #halted = false;
  #flushing = false;
  #waiting: (() => void)[] = [];

  constructor(options: RowImportOptions) {
    this.#options = options;
    const { gone } = options;
    if (gone.aborted) this.#breakOff();
    else gone.addEventListener('abort', this.#breakOff, { once: true });
  }

  readonly #breakOff = (): void => {
    this.halt();
    this.failure ??= brokeOff(this.#options.gone.reason);
    this.#wake();
  };

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

  /** Asks how far an earlier request came. */
  async begin(): Promise<void> {
    const mark = await this.#askMark();
    if (mark.n === 0) return;
    this.#earlier = mark;
    this.#earlierRefused = new Set(mark.r);
  }

  /** Takes a row as soon as there is room. */
  async add(parsed: ParsedRow): Promise<void> {
    const number = this.#rows++;
    const { line, bytes } = parsed;
    const row = 'row' in parsed ? parsed.row : undefined;
    const held: HeldRow = {
      number,
      line,
      bytes,
      row,
      hash: row === undefined ? undefined : hashRow(number, row.sql, row.values),
      error: 'error' in parsed ? parsed.error : undefined,
    };
    const { room } = this.#options;
    for (;;) {
      if (this.failure !== undefined) return;
      if (this.#earlier !== undefined && number < this.#earlier.n) {
        this.#pass(held);
        return;
      }
      if (this.#earlier !== undefined) await this.#passed(this.#earlier);
      if (room.tryTake(bytes)) break;
      room.whenFree(() => this.#wake());
      await this.#change();
    }
    this.#held.push(held);
    this.#heldBytes += bytes;
    this.#schedule();
  }

  /** All rows were read: sends the rest. */
  async endOfFile(): Promise<void> {
    if (this.#earlier !== undefined && !this.#options.stop.aborted) await this.#passed(this.#earlier);
    this.#flushing = true;
    this.#send();
  }

  /** Nothing more is sent. */
  halt(): void {
    this.#halted = true;
  }

  /** Resolves when nothing is under way. */
  async finished(): Promise<void> {
    this.#flushing = true;
    this.#send();
    while (this.#flights.length > 0 || this.#recovery !== undefined || this.#hasToSend) await this.#change();
  }

  /** Gives all room back. */
  close(): void {
    this.#options.gone.removeEventListener('abort', this.#breakOff);
    this.#options.room.close();
  }

  takeRejections(): ImportEvent[] {
    return this.#rejections.splice(0);
  }

  get #hasToSend(): boolean {
    return !this.#isEnded && this.#held.length > this.#sent;
  }

  get #isEnded(): boolean {
    return this.failure !== undefined || this.#halted;
  }

  // — sending —

  #scheduled = false;

  /** Sends what there is when the rows that came together are all there. */
  #schedule(): void {
    if (this.#held.length - this.#sent >= this.#pieceRows) this.#send();
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  get #pieceRows(): number {
    const { maxPieceRows } = this.#options;
    const next = this.#held[this.#sent]?.number ?? 0;
    return next < this.#smallPieces.to ? Math.min(maxPieceRows, this.#smallPieces.rows) : maxPieceRows;
  }

  #send(): void {
    while (!this.#isEnded && this.#recovery === undefined && this.#sent < this.#held.length) {
      const waiting = this.#held.length - this.#sent;
      const isFull = waiting >= this.#pieceRows || this.#heldBytes >= MAX_PIECE_BYTES || this.#flushing;
      if (this.#flights.length > 0 && !isFull) return;
      if (this.#flights.length >= this.#maxFlights) return;
      this.#launch(this.#nextPiece());
    }
  }

  /** Where pieces are small, more of them are under way. */
  get #maxFlights(): number {
    return Math.max(MAX_PIECES_UNDER_WAY, Math.ceil(MAX_SMALL_PIECE_ROWS / this.#pieceRows));
  }

  #nextPiece(): HeldRow[] {
    const rows: HeldRow[] = [];
    let bytes = 0;
    const max = this.#pieceRows;
    for (let index = this.#sent; index < this.#held.length && rows.length < max; index++) {
      const held = this.#held[index]!;
      bytes += held.bytes;
      if (rows.length > 0 && bytes > MAX_PIECE_BYTES) break;
      rows.push(held);
    }
    return rows;
  }

  #launch(rows: readonly HeldRow[]): void {
    const flight: Flight = { rows };
    this.#flights.push(flight);
    this.#sent += rows.length;
    this.#apply(rows, rows[0]!.number).then(
      result => {
        flight.result = result;
        this.#land();
      },
      error => {
        flight.error = asOnewriterError(error);
        this.#land();
      },
    );
  }

  /** @param at number of the first, or of each. */
  #apply(rows: readonly HeldRow[], at: ImportPiece['at']): Promise<ImportPieceResult> {
    const { tenant, idempotencyKey, fingerprint, maxRejected, writeTimeoutMs, gone } = this.#options;
    const hash = new RowsHash();
    for (const held of rows) if (held.row !== undefined) hash.toggle(held.hash!);
    const piece: ImportPiece = {
      key: idempotencyKey,
      fingerprint,
      at,
      rows: rows.map(held => held.row),
      hash: hash.toString(),
      maxRefused: maxRejected,
    };
    return tenant.importRows(piece, { timeoutMs: writeTimeoutMs, signal: gone });
  }

  // — settling —

  /** Takes the results of pieces that have landed, in the order in which they were sent. */
  #land(): void {
    while (this.#recovery === undefined) {
      const flight = this.#flights[0];
      if (flight === undefined || (flight.result === undefined && flight.error === undefined)) break;
      if (flight.result?.type !== 'applied') {
        this.#recovery = this.#recover(flight).catch(error => {
          this.failure ??= asOnewriterError(error);
        });
        void this.#recovery.then(() => {
          this.#recovery = undefined;
          this.#send();
          this.#wake();
        });
        break;
      }
      this.#flights.shift();
      this.#settle(flight.rows, flight.result);
    }
    this.#send();
    this.#wake();
  }

  /** Takes rows off that the writer has settled. */
  #settle(rows: readonly HeldRow[], result: Extract<ImportPieceResult, { type: 'applied' }>): void {
    this.#failingSince = undefined;
    this.#commitSeq = Math.max(this.#commitSeq, result.commitSeq);
    this.#skipped += result.known;
    this.#ignored += result.ignored;
    // Counted as accepted below.
    this.#accepted -= result.known;
    for (const { row, error } of result.refused) this.#errors.set(row, error);
    const refused = new Set(result.refused.map(({ row }) => row));
    this.#settleTo(result.next, number => refused.has(number));
    if (result.next <= rows.at(-1)!.number) this.#tooMany(rows[result.next - rows[0]!.number]!.line);
  }

  /** The rows up to a number are behind the mark. */
  #settleTo(next: number, isRefused: (number: number) => boolean): void {
    let count = 0;
    for (const held of this.#held) {
      if (held.number >= next) break;
      count++;
      this.#release(held);
      if (held.row === undefined || isRefused(held.number)) this.#reject(held);
      else this.#accept(held);
    }
    this.#held.splice(0, count);
    this.#sent = Math.max(0, this.#sent - count);
  }

  #release({ bytes }: HeldRow): void {
    this.#heldBytes -= bytes;
    this.#options.room.give(1, bytes);
  }

  #accept(held: HeldRow): void {
    this.#accepted++;
    this.#hash.toggle(held.hash!);
  }

  #reject(held: HeldRow): void {
    this.#rejected++;
    if (this.#rejected > this.#options.maxRejected) {
      this.#tooMany(held.line);
      return;
    }
    const error = held.error ?? this.#errors.get(held.number) ?? refusedBefore();
    this.#errors.delete(held.number);
    this.#rejections.push({
      event: 'rejected',
      row: held.number,
      line: held.line,
      error: toWireError(error),
    });
  }

  #tooMany(line: number): void {
    const message = `More than ${this.#options.maxRejected} rows were rejected; the import ended at line ${line}.`;
    this.failure ??= new OnewriterError('INVALID_ARGUMENT', message, { line });
  }

  // — when something went wrong —

  /** Finds out where the import is, and begins to send again there. */
  async #recover(flight: Flight): Promise<void> {
    const { error } = flight;
    this.#failingSince ??= performance.now();
    // Those behind it are not applied, or were while its answer was lost: the mark knows.
    while (this.#flights.some(({ result, error: failed }) => result === undefined && failed === undefined)) {
      await this.#change();
    }
    const uncertain = this.#flights.filter(({ error: failed }) => failed?.code === 'OUTCOME_UNKNOWN');
    for (const { result } of this.#flights) {
      if (result?.type !== 'applied') continue;
      this.#commitSeq = Math.max(this.#commitSeq, result.commitSeq);
      this.#ignored += result.ignored;
      for (const { row, error: refused } of result.refused) this.#errors.set(row, refused);
    }
    this.#flights.length = 0;
    this.#sent = 0;
    if (error !== undefined) this.#judge(flight, error);
    try {
      if (this.failure === undefined && error?.retryable) await pauseAfter(error, this.#options.gone);
      await this.#catchUp(await this.#askMark(), error === undefined);
    } catch (failure) {
      this.#unknown += uncertain.reduce((sum, { rows }) => sum + rows.length, 0);
      throw failure;
    }
  }

  /** Decides what is to be done about an error of a piece. */
  #judge({ rows }: Flight, error: OnewriterError): void {
    const alone = rows.length === 1;
    const [first] = rows;
    const isRowsFault = (error.status < 500 && !error.retryable) || endsBroker(error);
    if (
      error.code === 'IDEMPOTENCY_KEY_REUSED' ||
      (!error.retryable && !isRowsFault && error.code !== 'OUTCOME_UNKNOWN')
    ) {
      this.failure ??= error;
    } else if (this.#options.stop.aborted || (this.#halted && error.code !== 'OUTCOME_UNKNOWN')) {
      this.failure ??= error;
    } else if (!isRowsFault) {
      if (performance.now() - this.#failingSince! >= RETRY_FOR_MS) this.failure ??= error;
    } else if (!alone) {
      // One of them ended the transaction for all, or takes too long or too much memory.
      const size = endsBroker(error) ? 1 : Math.ceil(rows.length / 2);
      this.#smallPieces = { to: first!.number + rows.length, rows: size };
    } else if (error.status >= 500 || endsBroker(error)) {
      this.failure ??= new OnewriterError(
        error.code,
        `Line ${first!.line}: ${error.message}`,
        { line: first!.line },
        error,
      );
    } else {
      first!.error = error;
      first!.row = undefined;
    }
  }

  /** Settles what is behind the mark. @param byOthers another request with the same key was faster. */
  async #catchUp(mark: ImportMark, byOthers: boolean): Promise<void> {
    const settled = this.#held[0]?.number ?? this.#rows;
    if (mark.n > settled) this.#failingSince = undefined;
    if (mark.n < settled) throw usedByAnother();
    if (byOthers || mark.n > settled + this.#held.length) {
      const held = this.#held.filter(({ number }) => number < mark.n);
      this.#held.splice(0, held.length);
      this.#earlier = mark;
      this.#earlierRefused = new Set(mark.r);
      for (const row of held) {
        this.#release(row);
        this.#pass(row);
      }
      if (this.#held.length > 0) await this.#passed(mark);
      return;
    }
    const refused = new Set(mark.r);
    this.#settleTo(mark.n, number => refused.has(number));
    if (this.#hash.toString() !== mark.h) throw usedByAnother();
  }

  async #askMark(): Promise<ImportMark> {
    const { mark, commitSeq } = await askMark(this.#options, () => this.#isEnded);
    if (mark.n > 0) this.#commitSeq = Math.max(this.#commitSeq, commitSeq);
    return mark;
  }

  // — behind the mark of an earlier request —

  #pass(held: HeldRow): void {
    const { number } = held;
    if (!this.#earlierRefused.has(number)) {
      if (held.hash === undefined) throw differs(`line ${held.line} was a good row then`);
      this.#skipped++;
      this.#hash.toggle(held.hash);
      return;
    }
    if (held.row === undefined || this.#againBytes >= MAX_AGAIN_BYTES) {
      held.error ??= refusedBefore();
      this.#reject(held);
      return;
    }
    this.#again.push(held);
    this.#againBytes += held.bytes;
  }

  /** All rows behind the mark were read: if they are the same as then, those that were refused are tried again. */
  async #passed(mark: ImportMark): Promise<void> {
    this.#earlier = undefined;
    if (this.#rows < mark.n) throw differs(`it had ${mark.n} rows or more`);
    if (this.#hash.toString() !== mark.h) throw differs(`of its first ${mark.n} rows some are not the same`);
    for (let from = 0; from < this.#again.length && !this.#isEnded; from += this.#options.maxPieceRows) {
      await this.#tryAgain(this.#again.slice(from, from + this.#options.maxPieceRows));
    }
    this.#again.length = 0;
  }

  async #tryAgain(rows: HeldRow[]): Promise<void> {
    let left = rows;
    for (let since: number | undefined; left.length > 0; ) {
      await this.#options.assertMayWrite();
      let refused: ReadonlySet<number>;
      try {
        const result = await this.#apply(
          left,
          left.map(({ number }) => number),
        );
        const errors = result.type === 'applied' ? result.refused : [];
        if (result.type === 'applied') this.#ignored += result.ignored;
        for (const { row, error } of errors) this.#errors.set(row, error);
        this.#commitSeq = Math.max(this.#commitSeq, result.commitSeq);
        refused = new Set(result.type === 'applied' ? errors.map(({ row }) => row) : result.mark.r);
        for (const held of left) if (!refused.has(held.number)) this.#accept(held);
        left = left.filter(({ number }) => refused.has(number));
        if (result.type === 'elsewhere') continue;
        for (const held of left) this.#reject(held);
        return;
      } catch (thrown) {
        const error = asOnewriterError(thrown);
        since ??= performance.now();
        const again = error.retryable || error.code === 'OUTCOME_UNKNOWN';
        const isOver =
          this.#options.stop.aborted || this.#isEnded || performance.now() - since >= RETRY_FOR_MS;
        if (again && !isOver) {
          await pauseAfter(error, this.#options.gone);
        } else if (!again && error.status < 500 && error.code !== 'IDEMPOTENCY_KEY_REUSED') {
          if (left.length === 1) {
            left[0]!.error = error;
            this.#reject(left[0]!);
            return;
          }
          const middle = Math.ceil(left.length / 2);
          await this.#tryAgain(left.slice(0, middle));
          left = left.slice(middle);
        } else {
          if (error.code === 'OUTCOME_UNKNOWN') this.#unknown += left.length;
          throw error;
        }
      }
    }
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.push(resolve);
    });
  }

  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume();
  }
}

function refusedBefore(): OnewriterError {
  return new OnewriterError('CONSTRAINT_VIOLATION', 'The row was refused; the reason was not kept.');
}

function differs(how: string): OnewriterError {
  return new OnewriterError(
    'IDEMPOTENCY_KEY_REUSED',
    `The file is not the one that was imported under this key: ${how}. Use a key of its own for another file.`,
  );
}

function usedByAnother(): OnewriterError {
  return new OnewriterError(
    'IDEMPOTENCY_KEY_REUSED',
    'Another import with other rows uses the same key at the same time.',
  );
}

/** Errors of writes for which the broker is replaced: they are not tried in halves. */
function endsBroker({ code }: OnewriterError): boolean {
  return code === 'STATEMENT_TIMEOUT' || code === 'STATEMENT_TOO_COSTLY';
}
