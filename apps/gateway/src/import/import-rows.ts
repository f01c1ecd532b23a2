import { setTimeout as pause } from 'node:timers/promises';
import { OnewriterError, type SqlParameter, toWireError, type WireError } from '@onewriter/protocol';
import type { Tenant } from '@onewriter/sdk';
import { asOnewriterError } from '../error-response.ts';
import { quoteName } from '../export/sql-text.ts';

/** One row of an import, or what is wrong with it. */
export type ImportRow =
  | { readonly columns: readonly string[]; readonly values: readonly SqlParameter[]; readonly bytes: number }
  | { readonly error: OnewriterError };

/** What to do with a row that breaks a constraint. */
export type OnConflict = 'reject' | 'ignore' | 'replace';

/** Settings of {@link importRows}. */
export interface ImportOptions {
  readonly tenant: Tenant;
  readonly table: string;
  readonly onConflict: OnConflict;
  /** With it the same import can be sent again: rows that were applied are not applied twice. */
  readonly idempotencyKey: string | undefined;
  /** Rows that may be rejected before the import is given up. */
  readonly maxRejected: number;
  readonly writeTimeoutMs: number;
  /** Called before each row. @throws OnewriterError where no more may be written */
  readonly assertMayWrite: () => Promise<void>;
  /** Ends the import early. */
  readonly stop: AbortSignal;
}

/** How far an import is. */
export interface ImportProgress {
  /** Rows that were read, with those that were rejected. */
  readonly rows: number;
  /** Rows that are committed; with `onConflict=ignore` also those that were ignored. */
  readonly accepted: number;
  readonly rejected: number;
  /** Rows of which it is not known whether they were committed. Only without an idempotency key. */
  readonly unknown: number;
  /** The newest commit that has rows of this import; 0 for none. */
  readonly commitSeq: number;
}

/** What an import tells while it runs; the last is `done`, `failed` or `interrupted`. */
export type ImportEvent =
  | ({ readonly event: 'progress' | 'done' | 'interrupted' } & ImportProgress)
  | { readonly event: 'rejected'; readonly row: number; readonly error: WireError }
  | ({ readonly event: 'failed'; readonly error: WireError } & ImportProgress);

/** Rows and bytes that are on their way to the writer: enough to fill several jobs. */
const MAX_ROWS_UNDER_WAY = 2_000;
const MAX_BYTES_UNDER_WAY = 4 * 1024 * 1024;
const PROGRESS_EVERY_MS = 1_000;
/** How long a row is sent again after "not now". */
const RETRY_FOR_MS = 60_000;
const DEFAULT_RETRY_AFTER_MS = 100;

/**
 * Writes rows into a table, each a write of its own, many to a job: a row that is refused takes no other with it. Reading
 * waits while too much is under way.
 * @param rows in order; an error thrown by it ends the import after what was read before
 */
export async function* importRows(
  rows: AsyncIterable<ImportRow>,
  options: ImportOptions,
): AsyncGenerator<ImportEvent, void, undefined> {
  const running = new RunningImport(options);
  let failure: OnewriterError | undefined;
  let toldAt = performance.now();
  try {
    for await (const row of rows) {
      await running.add(row);
      yield* running.takeRejections();
      if (running.failure !== undefined) break;
      if (performance.now() - toldAt < PROGRESS_EVERY_MS) continue;
      toldAt = performance.now();
      yield { event: 'progress', ...running.progress };
    }
  } catch (error) {
    failure = asOnewriterError(error);
  }
  await running.finished();
  yield* running.takeRejections();
  failure ??= running.failure;
  if (failure !== undefined) yield { event: 'failed', error: toWireError(failure), ...running.progress };
  else yield { event: options.stop.aborted ? 'interrupted' : 'done', ...running.progress };
}

class RunningImport {
  failure: OnewriterError | undefined;
  readonly #options: ImportOptions;
  readonly #statements = new Map<string, string>();
  readonly #rejections: ImportEvent[] = [];
  #rows = 0;
  #accepted = 0;
  #rejected = 0;
  #unknown = 0;
  #commitSeq = 0;
  #rowsUnderWay = 0;
  #bytesUnderWay = 0;
  #wake: (() => void) | undefined;

  constructor(options: ImportOptions) {
    this.#options = options;
  }

  get progress(): ImportProgress {
    return {
      rows: this.#rows,
      accepted: this.#accepted,
      rejected: this.#rejected,
      unknown: this.#unknown,
      commitSeq: this.#commitSeq,
    };
  }

  /** Sends a row as soon as there is room. */
  async add(row: ImportRow): Promise<void> {
    const number = this.#rows++;
    if ('error' in row) {
      this.#reject(number, row.error);
      return;
    }
    while (this.#rowsUnderWay >= MAX_ROWS_UNDER_WAY || this.#bytesUnderWay >= MAX_BYTES_UNDER_WAY) {
      await this.#change();
    }
    await this.#options.assertMayWrite();
    this.#rowsUnderWay++;
    this.#bytesUnderWay += row.bytes;
    const done = () => {
      this.#rowsUnderWay--;
      this.#bytesUnderWay -= row.bytes;
      this.#wake?.();
    };
    this.#write(number, row).then(done, error => {
      this.failure ??= asOnewriterError(error);
      done();
    });
  }

  /** Resolves when nothing is under way. */
  async finished(): Promise<void> {
    while (this.#rowsUnderWay > 0) await this.#change();
  }

  takeRejections(): ImportEvent[] {
    return this.#rejections.splice(0);
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }

  async #write(number: number, row: Extract<ImportRow, { columns: unknown }>): Promise<void> {
    const { tenant, idempotencyKey, writeTimeoutMs } = this.#options;
    const giveUpAt = performance.now() + RETRY_FOR_MS;
    for (;;) {
      try {
        const result = await tenant.execute(this.#statement(row.columns), row.values, {
          timeoutMs: writeTimeoutMs,
          ...(idempotencyKey === undefined ? {} : { idempotencyKey: `${idempotencyKey}:${number}` }),
        });
        this.#accepted++;
        this.#commitSeq = Math.max(this.#commitSeq, result.commitSeq ?? 0);
        return;
      } catch (thrown) {
        const error = asOnewriterError(thrown);
        // Under a key it can be sent again without harm, whatever became of it.
        const again = error.retryable || (error.code === 'OUTCOME_UNKNOWN' && idempotencyKey !== undefined);
        if (!again) {
          this.#settle(number, error);
          return;
        }
        if (performance.now() >= giveUpAt || this.#options.stop.aborted) throw error;
        await pause(error.details.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS);
      }
    }
  }

  #settle(number: number, error: OnewriterError): void {
    if (error.code === 'OUTCOME_UNKNOWN') this.#unknown++;
    else if (error.status >= 500) throw error;
    else this.#reject(number, error);
  }

  #reject(row: number, error: OnewriterError): void {
    this.#rejected++;
    if (this.#rejected <= this.#options.maxRejected) {
      this.#rejections.push({ event: 'rejected', row, error: toWireError(error) });
    } else {
      const message = `More than ${this.#options.maxRejected} rows were rejected.`;
      this.failure ??= new OnewriterError('INVALID_ARGUMENT', message);
    }
  }

  /** The same text for rows of the same columns, so that a job has it once. */
  #statement(columns: readonly string[]): string {
    const key = JSON.stringify(columns);
    let sql = this.#statements.get(key);
    if (sql === undefined) {
      const { table, onConflict } = this.#options;
      const verb = onConflict === 'reject' ? 'INSERT' : `INSERT OR ${onConflict.toUpperCase()}`;
      const names = columns.map(quoteName).join(', ');
      const marks = columns.map(() => '?').join(', ');
      sql =
        columns.length === 0
          ? `${verb} INTO ${quoteName(table)} DEFAULT VALUES`
          : `${verb} INTO ${quoteName(table)} (${names}) VALUES (${marks})`;
      if (this.#statements.size >= MAX_STATEMENTS) this.#statements.clear();
      this.#statements.set(key, sql);
    }
    return sql;
  }
}

/** Sets of columns that are remembered. */
const MAX_STATEMENTS = 100;
