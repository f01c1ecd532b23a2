import { hashRow, LIMITS, OnewriterError, RowsHash, shownName, toWireError } from '@onewriter/protocol';
import type {
  ImportPiece,
  ImportRow as SentRow,
  Step,
  StepError,
  StepsAnswer,
  StepsOptions,
} from '@onewriter/sdk';
import { asOnewriterError } from '../http/error-response.ts';
import { brokeOff } from '../streams/read-lines.ts';
import { askMark } from './import-mark.ts';
import {
  type ImportEvent,
  type ImportOptions,
  type ImportProgress,
  PROGRESS_EVERY_MS,
} from './import-options.ts';
import type { ParsedRow } from './parse-rows.ts';
import { RowSpool, type SpooledRow } from './row-spool.ts';

/*
 * An import as one transaction, for rows that refer forward: foreign keys are judged at its COMMIT.
 *
 *   read all rows into a file · BEGIN IMMEDIATE · PRAGMA defer_foreign_keys = ON · pieces of rows · COMMIT
 *
 * The tenant's other writers wait while it is open, so it begins when the last row is there, however slow the sender is. The
 * import's mark is written in the same transaction: sent again, it is known to have been committed.
 */

/** Settings of {@link importWhole}. */
export interface WholeImportOptions extends ImportOptions {
  /** A folder for the rows. */
  readonly scratch: string;
}

/** Size of the request that begins the transaction: those of other imports may wait beside it. */
const MAX_FIRST_BYTES = 256 * 1024;
/** Bounds of one request of the transaction. */
const MAX_REQUEST_ROWS = 4 * LIMITS.maxImportPieceRows;
const MAX_REQUEST_BYTES = 2 * 1024 * 1024;
/** Rows named where foreign keys are broken. */
const MAX_VIOLATIONS = 20;

/** Writes all rows, or none. @param pieces as in `importRows` */
export async function* importWhole(
  pieces: AsyncIterable<readonly ParsedRow[]>,
  options: WholeImportOptions,
): AsyncGenerator<ImportEvent, void, undefined> {
  const { idempotencyKey, maxRejected, stop } = options;
  const progress = { rows: 0, accepted: 0, ignored: 0, skipped: 0, rejected: 0, unknown: 0, commitSeq: 0 };
  const spool = await RowSpool.open(options.scratch);
  const hash = new RowsHash();
  let reportedAt = performance.now();
  try {
    for await (const rows of pieces) {
      for (const parsed of rows) {
        const row = progress.rows++;
        const { line } = parsed;
        if ('error' in parsed) {
          if (++progress.rejected > maxRejected) throw tooMany(maxRejected, line);
          yield { event: 'rejected', row, line, error: toWireError(parsed.error) };
        } else {
          hash.toggle(hashRow(row, parsed.row.sql, parsed.row.values));
          await spool.add({ line, ...parsed.row });
        }
      }
      if (performance.now() - reportedAt < PROGRESS_EVERY_MS) continue;
      reportedAt = performance.now();
      yield { event: 'progress', idempotencyKey, ...progress };
    }
    if (stop.aborted) {
      yield { event: 'interrupted', idempotencyKey, ...progress };
      return;
    }
    if (progress.rejected > 0) {
      throw new OnewriterError('INVALID_ARGUMENT', 'Some rows cannot be read; nothing was applied.');
    }
    await commit(spool, hash.toString(), options, progress);
    yield { event: 'done', idempotencyKey, ...progress };
  } catch (thrown) {
    const error = asOnewriterError(thrown);
    yield { event: 'failed', idempotencyKey, error: toWireError(error), ...progress };
  } finally {
    await spool.close();
  }
}

type Figures = { -readonly [Name in keyof ImportProgress]: ImportProgress[Name] };

async function commit(
  spool: RowSpool,
  hash: string,
  options: WholeImportOptions,
  progress: Figures,
): Promise<void> {
  const { rows } = progress;
  const isCommitted = async (): Promise<boolean> => {
    const { mark, commitSeq } = await askMark(options, () => false);
    if (mark.n === 0) return false;
    if (mark.n !== rows || mark.h !== hash) {
      throw new OnewriterError(
        'IDEMPOTENCY_KEY_REUSED',
        'The file is not the one that was imported under this key. Use a key of its own for another file.',
      );
    }
    progress.commitSeq = commitSeq;
    return true;
  };
  if (await isCommitted()) {
    progress.skipped = rows;
    return;
  }
  if (rows === 0) return;
  const transaction = new WholeTransaction(options);
  try {
    progress.commitSeq = await transaction.run(spool.read());
    progress.accepted = rows;
  } catch (thrown) {
    const error = asOnewriterError(thrown);
    if (error.code !== 'OUTCOME_UNKNOWN') throw error;
    if (!(await isCommitted())) {
      progress.unknown = rows;
      throw error;
    }
    progress.accepted = rows;
  }
  progress.ignored = transaction.ignored;
}

/** The rows of a step, to find the line of one that fails; undefined for a step without rows. */
type StepRows = readonly SpooledRow[] | undefined;

class WholeTransaction {
  /** Rows that changed nothing. */
  ignored = 0;
  readonly #options: WholeImportOptions;
  #transaction: string | undefined;
  #next = 0;

  constructor(options: WholeImportOptions) {
    this.#options = options;
  }

  /** @returns the commit */
  async run(rows: AsyncIterable<SpooledRow>): Promise<number> {
    try {
      let request: SpooledRow[] = [];
      let bytes = 0;
      for await (const row of rows) {
        const isFirst = this.#transaction === undefined;
        const maxRows = isFirst ? LIMITS.maxImportPieceRows : MAX_REQUEST_ROWS;
        const maxBytes = isFirst ? MAX_FIRST_BYTES : MAX_REQUEST_BYTES;
        if (request.length >= maxRows || (request.length > 0 && bytes + row.values.length > maxBytes)) {
          await this.#sendRows(request);
          request = [];
          bytes = 0;
        }
        request.push(row);
        bytes += row.values.length;
      }
      await this.#sendRows(request);
      return await this.#commit();
    } catch (error) {
      await this.#rollback();
      throw error;
    }
  }

  async #sendRows(rows: readonly SpooledRow[]): Promise<void> {
    this.#assertWaitedFor();
    const steps: Step[] = [];
    const rowsOfSteps: StepRows[] = [];
    if (this.#transaction === undefined) {
      steps.push({ sql: 'BEGIN IMMEDIATE' }, { sql: 'PRAGMA defer_foreign_keys = ON' });
      rowsOfSteps.push(undefined, undefined);
    }
    for (let from = 0; from < rows.length; from += LIMITS.maxImportPieceRows) {
      const part = rows.slice(from, from + LIMITS.maxImportPieceRows);
      steps.push({ sql: part[0]!.sql, importRows: this.#toPiece(part) });
      rowsOfSteps.push(part);
    }
    const conditional = steps.map(
      (step, index): Step => (index === 0 ? step : { ...step, condition: { type: 'ok', step: index - 1 } }),
    );
    const from = this.#next - rows.length;
    const { results, transaction } = await this.#send(conditional);
    this.#transaction = transaction?.id;
    for (const [index, result] of results.entries()) {
      if (result.type === 'error') throw this.#toError(result.error, rowsOfSteps[index], from);
      const sent = rowsOfSteps[index]?.length ?? 0;
      if (result.type === 'ok' && sent > 0) this.ignored += sent - result.changes;
    }
    if (transaction === undefined) throw timedOut();
  }

  #toPiece(rows: readonly SentRow[]): ImportPiece {
    const { idempotencyKey: key, fingerprint } = this.#options;
    const hash = new RowsHash();
    rows.forEach((row, index) => {
      hash.toggle(hashRow(this.#next + index, row.sql, row.values));
    });
    const at = this.#next;
    this.#next += rows.length;
    const sent = rows.map(({ sql, values }) => ({ sql, values }));
    return { key, fingerprint, at, rows: sent, hash: hash.toString(), maxRefused: 0 };
  }

  /** @throws OnewriterError ABORTED where its sender is gone: the transaction is rolled back */
  #assertWaitedFor(): void {
    const { gone } = this.#options;
    if (gone.aborted) throw brokeOff(gone.reason);
  }

  async #commit(): Promise<number> {
    this.#assertWaitedFor();
    const failed = { type: 'error', step: 0 } as const;
    const { results, commitSeq } = await this.#send([
      { sql: 'COMMIT' },
      { sql: VIOLATIONS_SQL, condition: failed },
      { sql: 'ROLLBACK', condition: failed },
    ]);
    this.#transaction = undefined;
    const [committed, violations] = results;
    if (committed?.type === 'ok') return commitSeq ?? 0;
    if (committed?.type !== 'error') throw timedOut();
    const { error } = committed;
    if (error.code !== 'CONSTRAINT_VIOLATION') throw this.#toError(error, undefined, 0);
    const found = violations?.type === 'ok' ? violations.rows.map(toViolation) : [];
    throw new OnewriterError(
      error.code,
      `${error.message}; nothing was applied. ${found.length === 0 ? 'Which rows it is could not be found out.' : describe(found)}`,
      { violations: found, ...(error.sqliteCode === undefined ? {} : { sqliteCode: error.sqliteCode }) },
    );
  }

  /** Frees the tenant's writer for others. */
  async #rollback(): Promise<void> {
    if (this.#transaction === undefined) return;
    // Else it is taken away when its time is over.
    await this.#send([{ sql: 'ROLLBACK' }]).catch(() => {});
  }

  #send(steps: readonly Step[]): Promise<StepsAnswer> {
    const { tenant, writeTimeoutMs } = this.#options;
    const options: StepsOptions = { timeoutMs: writeTimeoutMs };
    const request = { steps, interactive: true };
    return tenant.steps(
      this.#transaction === undefined ? request : { ...request, transaction: this.#transaction },
      options,
    );
  }

  /** @param from number of the first row of the request */
  #toError(error: StepError, rows: StepRows, from: number): OnewriterError {
    const { code, message, sqliteCode, row } = error;
    if (code === 'TRANSACTION_TIMEOUT') return timedOut();
    const details = sqliteCode === undefined ? {} : { sqliteCode };
    if (row === undefined || rows === undefined)
      return new OnewriterError(code, `${message}; nothing was applied.`, details);
    const all = row - from;
    const line = rows[all % LIMITS.maxImportPieceRows]?.line;
    return new OnewriterError(code, `Line ${line}: ${message}; nothing was applied.`, {
      ...details,
      line,
      row,
    });
  }
}

interface Violation {
  readonly table: string;
  readonly rowid: string | null;
  readonly parent: string;
  /** Columns of the foreign key. */
  readonly columns: string;
}

const VIOLATIONS_SQL = `
  SELECT c."table", c.rowid, c.parent, (
    SELECT group_concat(l."from", ', ') FROM pragma_foreign_key_list(c."table") l WHERE l.id = c.fkid)
  FROM pragma_foreign_key_check c LIMIT ${MAX_VIOLATIONS}`;

function toViolation([table, rowid, parent, columns]: readonly unknown[]): Violation {
  return {
    table: String(table),
    rowid: rowid === null ? null : String(rowid),
    parent: String(parent),
    columns: String(columns ?? ''),
  };
}

function describe(found: readonly Violation[]): string {
  const list = found.map(
    ({ table, rowid, parent, columns }) =>
      `${shownName(table)}${rowid === null ? '' : ` row ${rowid}`} (${shownName(columns)}) has no parent in ${shownName(parent)}`,
  );
  return `${list.join('; ')}${found.length === MAX_VIOLATIONS ? '; and perhaps more' : ''}.`;
}

function timedOut(): OnewriterError {
  return new OnewriterError(
    'TRANSACTION_TIMEOUT',
    'The transaction was taken away before all rows were written; nothing was applied. An import as one transaction may ' +
      'take ONEWRITER_TRANSACTION_TIMEOUT_MS where others wait to write, and ONEWRITER_TRANSACTION_MAX_MS in any case. ' +
      'Send it when the tenant is quiet, or in parts, or without deferred.',
  );
}

function tooMany(maxRejected: number, line: number): OnewriterError {
  const message = `More than ${maxRejected} rows cannot be read; the import ended at line ${line}, and nothing was applied.`;
  return new OnewriterError('INVALID_ARGUMENT', message, { line });
}
