import { OnewriterError, type SqlParameters } from '@onewriter/protocol';
import type { ExecuteResult, RowMode, RowOf, Tenant, WaitOptions } from '../types.ts';

/** What statements run on: a tenant, or an interactive transaction of it. */
export type StatementExecutor = Pick<Tenant, 'execute'>;

/** An interactive transaction of a tenant, for adapters of libraries that have them. */
export class InteractiveTransaction implements StatementExecutor {
  /**
   * Begins one, for writing: the tenant's other writes wait until it ends.
   * @throws OnewriterError
   */
  static async begin(tenant: Tenant, _wait: WaitOptions): Promise<InteractiveTransaction> {
    throw new OnewriterError(
      'STATEMENT_NOT_ALLOWED',
      'Interactive transactions are not available; send the statements together, as a batch.',
      { tenant: tenant.id },
    );
  }

  /** Runs one statement in it; COMMIT, ROLLBACK and savepoints are statements, too. */
  async execute<Mode extends RowMode = 'object'>(
    _sql: string,
    _params?: SqlParameters,
    _options?: { readonly rowMode?: Mode | undefined },
  ): Promise<ExecuteResult<RowOf<Mode>>> {
    throw new TypeError('This transaction was not begun.');
  }
}
