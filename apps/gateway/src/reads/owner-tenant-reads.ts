import { backOffMs, NEWEST_COMMIT_SEQ_SQL, OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { Onewriter, Tenant } from '@onewriter/sdk';
import type { ReadAnswer, ReadRequest, ReadResult, ReadStream, TenantReads } from './tenant-reads.ts';

/** Reads of several statements that a commit came between. */
const MAX_TRIES = 5;
const MIN_POLL_MS = 5;
const MAX_POLL_MS = 200;

/**
 * Reads through the owner of the files, where this process cannot open them. Several statements are run on one state: the number of the
 * newest commit is read before and behind them, and they are read again if it has changed.
 */
export class OwnerTenantReads implements TenantReads {
  readonly openFiles = 0;
  readonly #onewriter: Pick<Onewriter, 'tenant'>;
  readonly #timeoutMs: number;

  /** @param onewriter a client whose reads go through the owner */
  constructor(onewriter: Pick<Onewriter, 'tenant'>, timeoutMs: number) {
    this.#onewriter = onewriter;
    this.#timeoutMs = timeoutMs;
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const due = performance.now() + (request.timeoutMs ?? this.#timeoutMs);
    const tenant = this.#onewriter.tenant(request.tenant);
    const { minCommitSeq = 0, statements, firstRowOnly } = request;
    for (let tries = 1; ; tries++) {
      // In one turn, so that they go together; the number first, so that it is not newer than what was read.
      const [before, results, after] = await Promise.all([
        this.#commitSeq(tenant, request, due),
        Promise.all(statements.map(statement => this.#run(tenant, statement, request, due))),
        statements.length > 1 ? this.#commitSeq(tenant, request, due) : undefined,
      ]);
      const isOneState = after === undefined || after === before;
      if (isOneState && (before ?? 0) >= minCommitSeq) {
        return { results: firstRowOnly ? results.map(firstRow) : results, commitSeq: before };
      }
      const pauseMs = backOffMs(tries, { firstMs: MIN_POLL_MS, maxMs: MAX_POLL_MS });
      if (performance.now() + pauseMs >= due || (!isOneState && tries === MAX_TRIES)) {
        throw isOneState ? notReached(request, before) : changing(request);
      }
      await new Promise(resolve => setTimeout(resolve, pauseMs));
    }
  }

  /** The result comes whole: the owner bounds it. */
  async stream(request: ReadRequest): Promise<ReadStream> {
    const { results } = await this.read(request);
    const { columns, rows } = results[0]!;
    return {
      columns,
      chunks: (async function* () {
        if (rows.length > 0) yield rows;
      })(),
    };
  }

  forget(): void {}

  async #run(
    tenant: Tenant,
    { sql, params }: ReadRequest['statements'][number],
    { safeIntegers, signal }: ReadRequest,
    due: number,
  ): Promise<ReadResult> {
    const timeoutMs = Math.max(1, due - performance.now());
    const options = { rowMode: 'array', safeIntegers: safeIntegers === true, signal, timeoutMs } as const;
    const { columns = [], rows = [] } = await tenant.execute(sql, params, options);
    return { columns, rows: rows as SqlValue[][] };
  }

  async #commitSeq(tenant: Tenant, request: ReadRequest, due: number): Promise<number | undefined> {
    try {
      const { rows } = await this.#run(tenant, { sql: NEWEST_COMMIT_SEQ_SQL }, request, due);
      return Number(rows[0]?.[0] ?? 0);
    } catch (error) {
      if (error instanceof OnewriterError && error.message.startsWith('no such table')) return undefined;
      throw error;
    }
  }
}

function firstRow({ columns, rows }: ReadResult): ReadResult {
  return { columns, rows: rows.slice(0, 1) };
}

function notReached({ tenant, minCommitSeq }: ReadRequest, commitSeq: number | undefined): OnewriterError {
  const message = `The tenant has not committed ${minCommitSeq} before the deadline.`;
  return new OnewriterError('COMMIT_SEQ_NOT_REACHED', message, { tenant, commitSeq });
}

function changing({ tenant }: ReadRequest): OnewriterError {
  const message =
    'The tenant committed each time while several statements were read through the owner of its file.';
  return new OnewriterError('DATABASE_BUSY', message, { tenant, retryAfterMs: MAX_POLL_MS });
}
