import type { CompiledQuery, DatabaseConnection, Driver, QueryResult } from 'kysely';
import type { SqlParameter, StatementResult, Tenant, WaitOptions } from '../../types.ts';
import { InteractiveTransaction } from '../interactive-transaction.ts';

/** Hands out connections, which cost nothing: what is open is the client's. */
export class OnewriterDriver implements Driver {
  readonly #tenant: Tenant;
  readonly #wait: WaitOptions;

  constructor(tenant: Tenant, wait: WaitOptions) {
    this.#tenant = tenant;
    this.#wait = wait;
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<OnewriterConnection> {
    return new OnewriterConnection(this.#tenant, this.#wait);
  }

  async releaseConnection(): Promise<void> {}

  beginTransaction(connection: OnewriterConnection): Promise<void> {
    return connection.begin();
  }

  commitTransaction(connection: OnewriterConnection): Promise<void> {
    return connection.end('COMMIT');
  }

  rollbackTransaction(connection: OnewriterConnection): Promise<void> {
    return connection.end('ROLLBACK');
  }

  savepoint(connection: OnewriterConnection, name: string): Promise<void> {
    return connection.control(`SAVEPOINT ${quote(name)}`);
  }

  rollbackToSavepoint(connection: OnewriterConnection, name: string): Promise<void> {
    return connection.control(`ROLLBACK TO ${quote(name)}`);
  }

  releaseSavepoint(connection: OnewriterConnection, name: string): Promise<void> {
    return connection.control(`RELEASE ${quote(name)}`);
  }

  /** The owner of the client closes it. */
  async destroy(): Promise<void> {}
}

/** A connection: to the tenant, or to an interactive transaction of it between BEGIN and its end. */
export class OnewriterConnection implements DatabaseConnection {
  readonly #tenant: Tenant;
  readonly #wait: WaitOptions;
  #transaction: InteractiveTransaction | undefined;

  constructor(tenant: Tenant, wait: WaitOptions) {
    this.#tenant = tenant;
    this.#wait = wait;
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    const result = await (this.#transaction === undefined
      ? this.#tenant.execute(sql, parameters as readonly SqlParameter[], this.#wait)
      : this.#transaction.execute(sql, parameters as readonly SqlParameter[]));
    return toQueryResult<Row>(result);
  }

  /** Rows of a read, as they are fetched; all are of one state of the database. */
  async *streamQuery<Row>(
    { sql, parameters }: CompiledQuery,
    chunkSize = 1,
  ): AsyncGenerator<QueryResult<Row>, void, undefined> {
    if (this.#transaction !== undefined) {
      // There the rows come in one answer.
      yield toQueryResult<Row>(await this.#transaction.execute(sql, parameters as readonly SqlParameter[]));
      return;
    }
    let rows: Row[] = [];
    for await (const row of this.#tenant
      .prepare(sql, this.#wait)
      .iterate(parameters as readonly SqlParameter[])) {
      if (rows.push(row as Row) < chunkSize) continue;
      yield { rows };
      rows = [];
    }
    if (rows.length > 0) yield { rows };
  }

  /** Runs queries as a whole or not at all. @throws OnewriterError as Tenant.transaction */
  async transact(queries: readonly CompiledQuery[]): Promise<QueryResult<unknown>[]> {
    if (this.#transaction !== undefined) {
      throw new TypeError(
        'batch() is a transaction of its own: call it on the database, not in a transaction.',
      );
    }
    const statements = queries.map(({ sql, parameters }) => ({
      sql,
      params: parameters as readonly SqlParameter[],
    }));
    return (await this.#tenant.transaction(statements, this.#wait)).map(toQueryResult);
  }

  async begin(): Promise<void> {
    this.#transaction = await InteractiveTransaction.begin(this.#tenant, this.#wait);
  }

  /** Runs a statement of transaction control, such as SAVEPOINT. */
  async control(sql: string): Promise<void> {
    await this.#transaction!.execute(sql, []);
  }

  async end(statement: 'COMMIT' | 'ROLLBACK'): Promise<void> {
    await this.control(statement);
    this.#transaction = undefined;
  }
}

function toQueryResult<Row>(
  result: Pick<StatementResult, 'changes' | 'lastInsertRowid' | 'rows'>,
): QueryResult<Row> {
  return {
    rows: (result.rows ?? []) as Row[],
    numAffectedRows: BigInt(result.changes),
    ...(result.changes === 0 ? {} : { insertId: BigInt(result.lastInsertRowid) }),
  };
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
