import { type ImportMark, OnewriterError, toWireError } from '@onewriter/protocol';
import type { ImportPieceResult } from '@onewriter/sdk';
import { asOnewriterError } from '../http/error-response.ts';
import { brokeOff } from '../streams/read-lines.ts';
import type { StreamRoom } from '../streams/stream-room.ts';
import { EarlierRows } from './earlier-rows.ts';
import { type HeldRow, HeldRows, toHeldRow } from './held-rows.ts';
import { ImportCount } from './import-count.ts';
import { askMark, pauseAfter } from './import-mark.ts';
import {
  type ImportEvent,
  type ImportOptions,
  type ImportProgress,
  PROGRESS_EVERY_MS,
} from './import-options.ts';
import { judgePiece } from './judge-piece.ts';
import type { ParsedRow } from './parse-rows.ts';
import { sendPiece } from './send-piece.ts';

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
 *
 * held-rows.ts holds the rows and makes pieces of them, send-piece.ts sends one, judge-piece.ts decides about its error,
 * earlier-rows.ts has the rows behind the mark of an earlier request, import-count.ts what is answered.
 */

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

/** A piece on its way. */
interface Flight {
  readonly rows: readonly HeldRow[];
  result?: ImportPieceResult | undefined;
  error?: OnewriterError | undefined;
}

class RowImport {
  failure: OnewriterError | undefined;
  readonly #options: RowImportOptions;
  readonly #count: ImportCount;
  readonly #held: HeldRows;
  readonly #flights: Flight[] = [];
  /** Rows behind the mark that an earlier request left; undefined once it is passed. */
  #earlier: EarlierRows | undefined;
  #recovery: Promise<void> | undefined;
  #failingSince: number | undefined;
  #halted = false;
  #flushing = false;
  #scheduled = false;
  #waiting: (() => void)[] = [];

  constructor(options: RowImportOptions) {
    this.#options = options;
    this.#held = new HeldRows(options.room, options.maxPieceRows);
    this.#count = new ImportCount(options.maxRejected, error => this.#fail(error), options.statements);
    const { gone } = options;
    if (gone.aborted) this.#breakOff();
    else gone.addEventListener('abort', this.#breakOff, { once: true });
  }

  readonly #breakOff = (): void => {
    this.halt();
    this.#fail(brokeOff(this.#options.gone.reason));
    this.#wake();
  };

  get progress(): ImportProgress {
    return this.#count.progress;
  }

  /** Asks how far an earlier request came. */
  async begin(): Promise<void> {
    const mark = await this.#askMark();
    if (mark.n > 0) this.#earlier = this.#rowsBehind(mark);
  }

  /** Takes a row as soon as there is room. */
  async add(parsed: ParsedRow): Promise<void> {
    const held = toHeldRow(this.#count.read(), parsed);
    for (;;) {
      if (this.failure !== undefined) return;
      if (this.#earlier?.has(held.number)) {
        this.#earlier.pass(held);
        return;
      }
      if (this.#earlier !== undefined) {
        await this.#endEarlier();
        // A recovery may have found another mark meanwhile, with this row behind it.
        continue;
      }
      if (this.#held.tryAdd(held)) break;
      this.#options.room.whenFree(() => this.#wake());
      await this.#change();
    }
    this.#schedule();
  }

  /** All rows were read: sends the rest. */
  async endOfFile(): Promise<void> {
    if (!this.#options.stop.aborted) await this.#endEarlier();
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
    return this.#count.takeRejections();
  }

  get #hasToSend(): boolean {
    return !this.#isEnded && this.#held.waiting > 0;
  }

  get #isEnded(): boolean {
    return this.failure !== undefined || this.#halted;
  }

  /** The first failure is the one that is answered. */
  #fail(error: OnewriterError): void {
    this.failure ??= error;
  }

  // — sending —

  /** Sends what there is when the rows that came together are all there. */
  #schedule(): void {
    if (this.#held.hasFullPiece) this.#send();
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    while (this.#hasToSend && this.#recovery === undefined) {
      if (this.#flights.length > 0 && !this.#flushing && !this.#held.isFull) return;
      if (this.#flights.length >= this.#held.maxUnderWay) return;
      this.#launch(this.#held.takePiece());
    }
  }

  #launch(rows: readonly HeldRow[]): void {
    const flight: Flight = { rows };
    this.#flights.push(flight);
    sendPiece(this.#options, rows, rows[0]!.number).then(
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

  // — settling —

  /** Takes the results of pieces that have landed, in the order in which they were sent. */
  #land(): void {
    while (this.#recovery === undefined) {
      const flight = this.#flights[0];
      if (flight === undefined || (flight.result === undefined && flight.error === undefined)) break;
      if (flight.result?.type !== 'applied') {
        this.#recovery = this.#recover(flight).catch(error => this.#fail(asOnewriterError(error)));
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
    this.#count.note(result);
    this.#count.knowBefore(result.known);
    const refused = new Set(result.refused.map(({ row }) => row));
    this.#settleTo(result.next, refused);
    if (result.next <= rows.at(-1)!.number) this.#count.endAt(rows[result.next - rows[0]!.number]!.line);
  }

  /** The rows up to a number are behind the mark. */
  #settleTo(next: number, refused: ReadonlySet<number>): void {
    for (const held of this.#held.settle(next)) {
      if (held.row === undefined || refused.has(held.number)) this.#count.reject(held);
      else this.#count.accept(held);
    }
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
    for (const { result } of this.#flights) if (result?.type === 'applied') this.#count.note(result);
    this.#flights.length = 0;
    this.#held.takeBack();
    if (error !== undefined) this.#judge(flight.rows, error);
    try {
      if (this.failure === undefined && error?.retryable) await pauseAfter(error, this.#options.gone);
      await this.#catchUp(await this.#askMark(), error === undefined);
    } catch (failure) {
      this.#count.lose(uncertain.reduce((sum, { rows }) => sum + rows.length, 0));
      throw failure;
    }
  }

  #judge(rows: readonly HeldRow[], error: OnewriterError): void {
    const verdict = judgePiece(rows, error, {
      stopped: this.#options.stop.aborted,
      halted: this.#halted,
      failingMs: performance.now() - this.#failingSince!,
    });
    switch (verdict.type) {
      case 'fail':
        this.#fail(verdict.error);
        break;
      case 'split':
        this.#held.split(rows, verdict.rows);
        break;
      case 'reject':
        rows[0]!.error = error;
        rows[0]!.row = undefined;
        break;
      case 'again':
        break;
      default:
        verdict satisfies never;
    }
  }

  /** Settles what is behind the mark. @param byOthers another request with the same key was faster. */
  async #catchUp(mark: ImportMark, byOthers: boolean): Promise<void> {
    const settled = this.#held.first?.number ?? this.#count.rows;
    if (mark.n > settled) this.#failingSince = undefined;
    if (mark.n < settled) throw usedByAnother();
    if (byOthers || mark.n > settled + this.#held.size) {
      const earlier = this.#rowsBehind(mark);
      this.#earlier = earlier;
      for (const held of this.#held.settle(mark.n)) earlier.pass(held);
      if (this.#held.size > 0) await this.#endEarlier();
      return;
    }
    this.#settleTo(mark.n, new Set(mark.r));
    if (this.#count.hash !== mark.h) throw usedByAnother();
  }

  async #askMark(): Promise<ImportMark> {
    const { mark, commitSeq } = await askMark(this.#options, () => this.#isEnded);
    if (mark.n > 0) this.#count.reach(commitSeq);
    return mark;
  }

  #rowsBehind(mark: ImportMark): EarlierRows {
    return new EarlierRows(mark, this.#count, this.#options);
  }

  /** The next row is not behind the mark of an earlier request, where there is one. */
  async #endEarlier(): Promise<void> {
    const earlier = this.#earlier;
    this.#earlier = undefined;
    await earlier?.end(() => this.#isEnded);
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

function usedByAnother(): OnewriterError {
  return new OnewriterError(
    'IDEMPOTENCY_KEY_REUSED',
    'Another import with other rows uses the same key at the same time.',
  );
}
