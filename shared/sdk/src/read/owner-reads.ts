import {
  backOffMs,
  isOnewriterError,
  LEDGER_LOOKUP_SQL,
  OnewriterError,
  type SqlParameters,
  type WireOperationResult,
} from '@onewriter/protocol';
import { decodeStatement } from '../settle/decode-result.ts';
import { decodeSteps } from '../settle/decode-steps.ts';
import {
  ABSENT,
  answerOfRow,
  isWithoutLedger,
  type LedgerAnswer,
  type LedgerReader,
} from '../settle/ledger.ts';
import type { StepsAnswer } from '../steps-types.ts';
import type { RowMode, RowOf, SqlRow, WaitOptions } from '../types.ts';
import { aborted, assertNotAborted, dueAt, now, pause } from '../waits.ts';
import { type EncodedWrite, encodeRead } from '../write/encoded-write.ts';
import type { WriteAnswer, WritePath } from '../write/write-path.ts';
import type { ReadRequest, Reads, RowsWithColumns } from './reads.ts';

/** Settings of {@link OwnerReads}. */
export interface OwnerReadsOptions {
  readonly maxResultRows: number;
  /** Deadline of a read whose caller names none. */
  readonly timeoutMs: number;
}

/** Pauses before a read is sent again whose answer was lost: at once, unless Redis loses one after the other. */
const RESEND_MS = { firstMs: 10, maxMs: 1_000 };

interface ReadRows<Mode extends RowMode> {
  readonly columns: readonly string[];
  readonly rows: RowOf<Mode>[];
  /** The newest commit that it saw. */
  readonly commitSeq: number;
}

/**
 * Reads through the process that owns the files: jobs in the tenant's queue, which stand behind the writes that this client sent before.
 * For processes that have nothing but Redis, and where only the broker may open a file. A read whose answer is lost is sent again.
 */
export class OwnerReads implements Reads, LedgerReader {
  readonly route = 'owner';
  readonly openReaders = 0;
  readonly isQueued = true;
  readonly #options: OwnerReadsOptions;
  #path: Pick<WritePath, 'read'> | undefined;

  constructor(options: OwnerReadsOptions) {
    this.#options = options;
  }

  /** Sets the way to the queue, before the first read. */
  use(path: Pick<WritePath, 'read'>): void {
    this.#path = path;
  }

  async get(request: ReadRequest): Promise<SqlRow | undefined> {
    return (await this.#read(request, 'object', true)).rows[0];
  }

  async all(request: ReadRequest): Promise<SqlRow[]> {
    const { rows } = await this.#read(request, 'object', false);
    this.#assertRows(request, rows.length);
    return rows;
  }

  async allArrays(request: ReadRequest): Promise<RowsWithColumns & { readonly commitSeq: number }> {
    const { columns, rows, commitSeq } = await this.#read(request, 'array', false);
    this.#assertRows(request, rows.length);
    return { columns: [...columns], rows, commitSeq };
  }

  /** All rows come in one answer, so the owner's bound on a result holds here too. */
  async *iterate(request: ReadRequest): AsyncGenerator<SqlRow, void, undefined> {
    for (const row of (await this.#read(request, 'object', false)).rows) {
      assertNotAborted(request.options.signal);
      yield row;
    }
  }

  /** Runs steps that only read. */
  async steps(tenant: string, payload: EncodedWrite, options: WaitOptions): Promise<StepsAnswer> {
    const { result, commitSeq } = await this.#send(tenant, payload, options);
    return decodeSteps(result!, commitSeq);
  }

  lookNow(): undefined {
    return undefined;
  }

  async look(
    tenant: string,
    jobId: string,
    _indexes: readonly number[],
    signal?: AbortSignal,
  ): Promise<LedgerAnswer> {
    try {
      const row = await this.get({ tenant, sql: LEDGER_LOOKUP_SQL, params: [jobId], options: { signal } });
      return row === undefined ? ABSENT : answerOfRow(row);
    } catch (error) {
      if (isOnewriterError(error) && isWithoutLedger(error)) return ABSENT;
      throw error;
    }
  }

  close(): void {}

  async #read<Mode extends RowMode>(
    { tenant, sql, params, options, safeIntegers = false }: ReadRequest,
    mode: Mode,
    firstOnly: boolean,
  ): Promise<ReadRows<Mode>> {
    const payload = encodeRead({ sql, params: params as SqlParameters }, firstOnly);
    const { result, commitSeq } = await this.#send(tenant, payload, options);
    return decode(result!, commitSeq, mode, safeIntegers);
  }

  /** Sends it again where its answer is lost, or there was no time for it. */
  async #send(tenant: string, payload: EncodedWrite, options: WaitOptions): Promise<WriteAnswer> {
    const { signal } = options;
    assertNotAborted(signal);
    const due = dueAt(options, this.#options.timeoutMs);
    for (let tries = 1; ; tries++) {
      try {
        return await this.#path!.read(tenant, payload, due, signal);
      } catch (error) {
        const pauseMs = resendAfter(error, tries);
        if (pauseMs === undefined || now() + pauseMs >= due) throw toReadError(error, tenant, options);
        await pause(pauseMs, signal);
        if (signal?.aborted) throw aborted(signal);
      }
    }
  }

  #assertRows({ tenant }: ReadRequest, rows: number): void {
    const { maxResultRows: maxRows } = this.#options;
    if (rows <= maxRows) return;
    throw new OnewriterError('RESULT_TOO_LARGE', `The result has more than ${maxRows} rows.`, {
      tenant,
      maxRows,
    });
  }
}

function decode<Mode extends RowMode>(
  result: WireOperationResult,
  seenSeq: number,
  mode: Mode,
  safeIntegers: boolean,
): ReadRows<Mode> {
  const { columns = [], rows = [] } = decodeStatement(result, seenSeq, { mode, safeIntegers });
  return { columns, rows, commitSeq: seenSeq };
}

/** The pause before a read is sent again, ms; undefined where its error is the answer. */
function resendAfter(error: unknown, tries: number): number | undefined {
  if (!isOnewriterError(error)) return undefined;
  const { code, details } = error;
  if (code === 'OUTCOME_UNKNOWN') return details.reason === 'lost' ? backOffMs(tries, RESEND_MS) : undefined;
  // Its share of the thread was used up.
  return code === 'RATE_LIMITED' ? (details.retryAfterMs ?? RESEND_MS.firstMs) : undefined;
}

/** A read has no outcome that could be unknown. */
function toReadError(error: unknown, tenant: string, { signal }: WaitOptions): unknown {
  if (!isOnewriterError(error, 'OUTCOME_UNKNOWN')) return error;
  const { reason, holders } = error.details;
  if (signal?.aborted) return aborted(signal);
  if (reason === 'closed') return new OnewriterError('CLOSED', 'The client is closed.', { tenant });
  if (reason === 'paused') {
    const message = 'The tenant is held, and reads through its owner wait.';
    return new OnewriterError('TENANT_PAUSED', message, { tenant, holders });
  }
  return new OnewriterError(
    'TIMEOUT',
    'The deadline passed before the owner of the file answered the read.',
    {
      tenant,
    },
  );
}
