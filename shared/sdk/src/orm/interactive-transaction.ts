import { OnewriterError, type SqlParameters, type SqlValue, toExactInteger } from '@onewriter/protocol';
import { toRowObject } from '../settle/decode-result.ts';
import type { StepResult } from '../steps-types.ts';
import type { ExecuteOptions, ExecuteResult, RowMode, RowOf, Tenant, WaitOptions } from '../types.ts';

/** What statements run on: a tenant, or an interactive transaction of it. */
export type StatementExecutor = Pick<Tenant, 'execute'>;

/**
 * An interactive transaction of a tenant, for adapters of libraries that have them: all statements run on the writer's
 * connection, the reads, too. Once the broker rolls it back, at its deadline, every statement but ROLLBACK fails with
 * TRANSACTION_TIMEOUT; none is ever run outside of it.
 */
export class InteractiveTransaction implements StatementExecutor {
  readonly #tenant: Tenant;
  readonly #wait: WaitOptions;
  readonly #id: string;

  /** Made by {@link begin}. */
  constructor(tenant: Tenant, wait: WaitOptions, id: string) {
    this.#tenant = tenant;
    this.#wait = wait;
    this.#id = id;
  }

  /**
   * Begins one, for writing: the tenant's other writes wait until it ends.
   * @throws OnewriterError as Tenant.steps; TRANSACTION_BUSY where another one did not end by the deadline
   */
  static async begin(tenant: Tenant, wait: WaitOptions): Promise<InteractiveTransaction> {
    const request = { steps: [{ sql: 'BEGIN IMMEDIATE' }], interactive: true };
    const { results, transaction } = await tenant.steps(request, wait);
    assertDone(results[0], tenant.id);
    if (transaction === undefined) {
      const message = 'The broker keeps no transaction open; send the statements together, as a batch.';
      throw new OnewriterError('STATEMENT_NOT_ALLOWED', message, { tenant: tenant.id });
    }
    return new InteractiveTransaction(tenant, wait, transaction.id);
  }

  /** Runs one statement in it; COMMIT, ROLLBACK and savepoints are statements, too. */
  async execute<Mode extends RowMode = 'object'>(
    sql: string,
    params: SqlParameters = [],
    { rowMode }: ExecuteOptions<Mode> = {},
  ): Promise<ExecuteResult<RowOf<Mode>>> {
    const request = { steps: [{ sql, params }], transaction: this.#id, interactive: true };
    const { results, commitSeq } = await this.#tenant.steps(request, this.#wait);
    const { columns, rows, changes, lastInsertRowid } = assertDone(results[0], this.#tenant.id);
    const names = columns.map(({ name }) => name);
    const shaped = rows.map(row => {
      const values = row.map(toPlainValue);
      return rowMode === 'array' ? values : toRowObject(names, values);
    });
    return {
      kind: 'write',
      ...(names.length === 0 ? {} : { columns: names, rows: shaped as RowOf<Mode>[] }),
      changes,
      lastInsertRowid: toExactInteger(lastInsertRowid ?? 0),
      commitSeq,
    };
  }
}

/** Steps keep integers apart from reals; callers of the SDK get numbers where that is exact. */
function toPlainValue(value: SqlValue): SqlValue {
  return typeof value === 'bigint' ? toExactInteger(value) : value;
}

function assertDone(result: StepResult | undefined, tenant: string) {
  if (result?.type === 'ok') return result;
  if (result?.type !== 'error') throw new OnewriterError('INTERNAL', 'A step without a result.', { tenant });
  const { code, message, sqliteCode } = result.error;
  throw new OnewriterError(code, message, { tenant, ...(sqliteCode === undefined ? {} : { sqliteCode }) });
}
