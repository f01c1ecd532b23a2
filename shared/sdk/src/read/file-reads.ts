import {
  backOffMs,
  LEDGER_LOOKUP_SQL,
  OnewriterError,
  readOwnTables,
  SNAPSHOT_LOOK_MS,
  SnapshotBound,
  SnapshotIndex,
  snapshotEnded,
  snapshotLost,
} from '@onewriter/protocol';
import {
  ABSENT,
  answerOfRow,
  type ImmediateAnswer,
  isWithoutLedger,
  type LedgerAnswer,
  type LedgerReader,
} from '../settle/ledger.ts';
import type { SdkLogger, SqlRow } from '../types.ts';
import { assertNotAborted, now, pause, untilAborted } from '../waits.ts';
import type { BoundParameters } from '../write/parameters.ts';
import { flushWal } from './flush-wal.ts';
import { isAnswerOfReplaced, MAX_REOPENS, ReadPool } from './read-pool.ts';
import { FileReplaced, type Reader } from './reader.ts';
import type { ReadRequest, Reads, RowsWithColumns } from './reads.ts';
import { isBusy, isUnreachable, toReadError } from './sqlite-errors.ts';
import type { Waking } from './waking.ts';

/** Settings of {@link FileReads}. */
export interface FileReadsOptions {
  readonly dataDir: string;
  readonly dbFile: string;
  readonly maxOpenReaders: number;
  readonly maxResultRows: number;
  readonly maxSnapshotLogBytes: number;
  readonly busyTimeoutMs: number;
  readonly logger: SdkLogger;
  readonly waking: Waking;
}

/** Rows that iterate() hands out before it lets other work of the process run. */
const ROWS_PER_TURN = 256;
/** An iteration whose rows are not fetched for this long is ended: it keeps the WAL file from being reset. */
const ITERATION_IDLE_MS = 5 * 60_000;
const MAX_BUSY_PAUSE_MS = 50;

/** Reads straight from the tenants' files. */
export class FileReads implements Reads, LedgerReader {
  readonly route = 'file';
  readonly #pool: ReadPool;
  readonly #options: FileReadsOptions;
  readonly #fallback: (Reads & LedgerReader) | undefined;
  #fallbackReported = false;

  /** @param fallback for a file that cannot be opened here; it is then said once in the log */
  constructor(options: FileReadsOptions, fallback?: Reads & LedgerReader) {
    this.#pool = new ReadPool(options);
    this.#options = options;
    this.#fallback = fallback;
  }

  get openReaders(): number {
    return this.#pool.size;
  }

  get(request: ReadRequest): SqlRow | undefined | Promise<SqlRow | undefined> {
    const { tenant, sql, params } = request;
    try {
      return this.#pool.reader(tenant).statement(sql).get(params, this.#pool.turn);
    } catch (error) {
      const read = () => this.#pool.reader(tenant).statement(sql).get(params, this.#pool.turn);
      return this.#again(error, request, read, it => it.get(request));
    }
  }

  all(request: ReadRequest): SqlRow[] | Promise<SqlRow[]> {
    const { tenant, sql, params } = request;
    const read = () =>
      this.#pool.reader(tenant).statement(sql).all(params, this.#options.maxResultRows, this.#pool.turn);
    try {
      return read();
    } catch (error) {
      return this.#again(error, request, read, it => it.all(request));
    }
  }

  allArrays(request: ReadRequest): RowsWithColumns | Promise<RowsWithColumns> {
    const { tenant, sql, params, safeIntegers } = request;
    const read = () =>
      this.#pool.reader(tenant).statement(sql).allArrays(params, this.#options.maxResultRows, safeIntegers);
    try {
      return read();
    } catch (error) {
      return this.#again(error, request, read, it => it.allArrays(request));
    }
  }

  async *iterate(request: ReadRequest): AsyncGenerator<SqlRow, void, undefined> {
    const { tenant, sql, params, options } = request;
    let reader: Reader;
    let rows: Generator<SqlRow, void, undefined>;
    let row: IteratorResult<SqlRow>;
    let index: SnapshotIndex;
    try {
      // With the first row: only then does a lock show, or that the file cannot be read here, or was replaced.
      [reader, rows, row, index] = await this.#withRetry(request, () =>
        this.#beginIteration(tenant, sql, params),
      );
    } catch (error) {
      if (!this.#canFallBack(error)) throw toReadError(error, tenant);
      return yield* this.#fallback!.iterate(request);
    }
    let ended: OnewriterError | undefined;
    const end = (error: OnewriterError) => {
      ended ??= error;
      reader.close();
    };
    const idle = setTimeout(() => end(endedIdle(tenant)), ITERATION_IDLE_MS).unref();
    // By a timer, so that it also ends where the caller is slow to fetch.
    const bound = new SnapshotBound(reader.path, this.#options.maxSnapshotLogBytes);
    const look = setInterval(() => {
      if (bound.isReached()) end(endedByBound(tenant));
      // Its connection keeps all others of this process from opening the file: they share the old index.
      else if (index.isReplaced()) end(snapshotLost(tenant));
    }, SNAPSHOT_LOOK_MS).unref();
    let { turn } = this.#pool;
    try {
      for (let count = 1; !row.done; count++) {
        yield row.value;
        idle.refresh();
        // A loop over rows that are there at once would keep every timer and socket of the process waiting.
        if (count % ROWS_PER_TURN === 0) await new Promise<void>(resolve => setImmediate(resolve));
        assertNotAborted(options.signal);
        // Closed meanwhile: its rows would just end here, as if there were no more.
        if (reader.closed) throw ended ?? clientClosed();
        row = rows.next();
        if (turn === this.#pool.turn) continue;
        turn = this.#pool.turn;
        index.assertKept(tenant);
      }
    } catch (error) {
      if (index.isReplaced()) throw snapshotLost(tenant);
      throw toReadError(error, tenant);
    } finally {
      clearTimeout(idle);
      clearInterval(look);
      this.#pool.release(reader);
    }
  }

  lookNow(tenant: string, jobId: string): ImmediateAnswer | undefined {
    try {
      const found = this.#ledgerRow(tenant, jobId);
      if (found === undefined) return ABSENT;
      const { path, row } = found;
      return { ...answerOfRow(row), flush: { later: () => flushWal(path) } };
    } catch (error) {
      return isWithoutLedger(toReadError(error, tenant)) ? ABSENT : undefined;
    }
  }

  async look(
    tenant: string,
    jobId: string,
    indexes: readonly number[],
    signal?: AbortSignal,
  ): Promise<LedgerAnswer> {
    const request = { tenant, sql: LEDGER_LOOKUP_SQL, params: [jobId], options: { signal } };
    try {
      const found = await this.#withRetry(request, () => this.#ledgerRow(tenant, jobId));
      if (found === undefined) return ABSENT;
      await untilAborted(flushWal(found.path), signal);
      return answerOfRow(found.row);
    } catch (error) {
      const known = toReadError(error, tenant);
      if (isWithoutLedger(known)) return ABSENT;
      if (this.#fallback) return this.#fallback.look(tenant, jobId, indexes, signal);
      throw known;
    }
  }

  /** The job's row, and the file that it was found in. */
  #ledgerRow(tenant: string, jobId: string): { readonly row: SqlRow; readonly path: string } | undefined {
    return this.#pool.current(tenant, () => {
      const reader = this.#pool.reader(tenant);
      const row: SqlRow | undefined = readOwnTables(names =>
        reader.statement(names(LEDGER_LOOKUP_SQL)).get([jobId], this.#pool.turn),
      );
      // Before reporting no row: a file that was replaced by hand gives no sign of it.
      if (row === undefined && reader.isMoved()) throw new FileReplaced('The file was replaced.');
      return row && { row, path: reader.path };
    });
  }

  #beginIteration(
    tenant: string,
    sql: string,
    params: BoundParameters,
  ): [Reader, Generator<SqlRow, void, undefined>, IteratorResult<SqlRow>, SnapshotIndex] {
    for (let reopens = 0; ; reopens++) {
      const reader = this.#pool.lease(tenant);
      try {
        const rows = reader.iterate(sql, params);
        return [reader, rows, rows.next(), new SnapshotIndex(reader.path)];
      } catch (error) {
        const isReplaced = reopens < MAX_REOPENS && isAnswerOfReplaced(error, reader);
        this.#pool.release(reader);
        if (!isReplaced) throw error;
      }
    }
  }

  close(): void {
    this.#pool.close();
    this.#fallback?.close();
  }

  /** Handles a failed read: reads the replacement file, waits for a lock, uses the fallback, or throws to the caller. */
  #again<T>(
    error: unknown,
    request: ReadRequest,
    read: () => T,
    fallback: (reads: Reads) => T | Promise<T>,
  ): Promise<T> | T {
    let failure = error;
    if (this.#pool.dropReplaced(request.tenant, error)) {
      try {
        return this.#pool.current(request.tenant, read);
      } catch (again) {
        failure = again;
      }
    }
    if (isBusy(failure) || this.#options.waking.isCause(failure)) return this.#wait(failure, request, read);
    if (this.#canFallBack(failure)) return fallback(this.#fallback!);
    throw toReadError(failure, request.tenant);
  }

  async #withRetry<T>(request: ReadRequest, read: () => T): Promise<T> {
    try {
      return read();
    } catch (error) {
      if (isBusy(error) || this.#options.waking.isCause(error)) return this.#wait(error, request, read);
      throw error;
    }
  }

  /** For a lock, or the file of a hibernated tenant, or for one after the other. */
  async #wait<T>(error: unknown, request: ReadRequest, read: () => T): Promise<T> {
    const { tenant, options } = request;
    const { waking } = this.#options;
    try {
      if (isBusy(error)) return await this.#retryBusy(error, request, read);
    } catch (failure) {
      if (!waking.isCause(failure)) throw failure;
    }
    const readUnlocked = () => {
      try {
        return this.#pool.current(tenant, read);
      } catch (failure) {
        // Its owner, which opened it first, may still be at its log.
        if (isBusy(failure)) return this.#retryBusy(failure, request, read);
        throw failure;
      }
    };
    try {
      return await waking.until(tenant, options, readUnlocked);
    } catch (failure) {
      throw toReadError(failure, tenant);
    }
  }

  /** SQLite would wait for the lock too, but with the event loop of the whole process. */
  async #retryBusy<T>(first: unknown, request: ReadRequest, read: () => T): Promise<T> {
    const { tenant, options } = request;
    const { busyTimeoutMs } = this.#options;
    const until = now() + Math.min(busyTimeoutMs, options.timeoutMs ?? busyTimeoutMs);
    let error = first;
    for (let tries = 1; ; tries++) {
      const pauseMs = backOffMs(tries, { firstMs: 1, maxMs: MAX_BUSY_PAUSE_MS });
      if (now() + pauseMs >= until) throw toReadError(error, tenant);
      await pause(pauseMs, options.signal);
      assertNotAborted(options.signal);
      try {
        return this.#pool.current(tenant, read);
      } catch (again) {
        if (!isBusy(again)) throw toReadError(again, tenant);
        error = again;
      }
    }
  }

  #canFallBack(error: unknown): boolean {
    if (this.#fallback === undefined) return false;
    const cause = error instanceof OnewriterError ? error.cause : error;
    if (!isUnreachable(cause)) return false;
    if (!this.#fallbackReported) {
      this.#fallbackReported = true;
      this.#options.logger.warn(
        { err: cause },
        `A tenant file cannot be opened here; reading through the ${this.#fallback.route}`,
      );
    }
    return true;
  }
}

function clientClosed(): OnewriterError {
  return new OnewriterError('CLOSED', 'The client is closed.');
}

function endedIdle(tenant: string): OnewriterError {
  return new OnewriterError(
    'STATEMENT_TIMEOUT',
    `Nothing was fetched from the iteration for ${ITERATION_IDLE_MS / 1_000} s, so it was ended.`,
    { tenant },
  );
}

function endedByBound(tenant: string): OnewriterError {
  return snapshotEnded(
    tenant,
    'Fetch the rows faster, or read in pieces (WHERE id > ? ORDER BY id LIMIT 1000).',
  );
}
