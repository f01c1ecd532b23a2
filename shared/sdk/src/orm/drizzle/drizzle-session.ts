import type { Logger, Query, RelationalSchemaConfig, TablesRelationalConfig } from 'drizzle-orm';
import type { BatchItem } from 'drizzle-orm/batch';
import type { Cache } from 'drizzle-orm/cache/core';
import type { SelectedFieldsOrdered, SQLiteAsyncDialect } from 'drizzle-orm/sqlite-core';
import { SQLiteRaw } from 'drizzle-orm/sqlite-core/query-builders/raw';
import { RemotePreparedQuery, SQLiteProxyTransaction, SQLiteRemoteSession } from 'drizzle-orm/sqlite-proxy';
import { toRowObject } from '../../settle/decode-result.ts';
import type { SqlParameters, SqlRowArray, StatementResult, Tenant, WaitOptions } from '../../types.ts';
import { InteractiveTransaction, type StatementExecutor } from '../interactive-transaction.ts';

/** What a statement without RETURNING did, as better-sqlite3 says it. */
export interface DrizzleRunResult {
  readonly changes: number;
  /** Row id of an insert that changed something, else 0. */
  readonly lastInsertRowid: number | bigint;
  /** The tenant's commit that holds it; undefined inside a transaction, and for a read. */
  readonly commitSeq?: number | undefined;
}

/** What all sessions of a database share. */
export interface SessionContext<TSchema extends TablesRelationalConfig> {
  readonly tenant: Tenant;
  readonly wait: WaitOptions;
  readonly dialect: SQLiteAsyncDialect;
  readonly schema: RelationalSchemaConfig<TSchema> | undefined;
  readonly options: { logger?: Logger; cache?: Cache };
}

/** A query that was not executed; Drizzle does not declare its method, but calls it so in each of its own drivers. */
interface Preparable {
  _prepare(): {
    getQuery(): Query & { readonly method: Method };
    mapResult(response: unknown, isFromBatch: boolean): unknown;
  };
}

type Method = 'run' | 'all' | 'get' | 'values';
type Row = SqlRowArray | Record<string, unknown>;

/** Drizzle's session for drivers that only run statements, over a tenant or over a transaction of it. */
export class OnewriterSession<
  TFullSchema extends Record<string, unknown>,
  TSchema extends TablesRelationalConfig,
> extends SQLiteRemoteSession<TFullSchema, TSchema> {
  readonly #context: SessionContext<TSchema>;
  readonly #executor: StatementExecutor;

  constructor(context: SessionContext<TSchema>, executor: StatementExecutor = context.tenant) {
    super(unused, context.dialect, context.schema, unused, context.options);
    this.#context = context;
    this.#executor = executor;
  }

  override prepareQuery(
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    method: 'run' | 'all' | 'get',
    isResponseInArrayMode: boolean,
    mapper?: (rows: unknown[][]) => unknown,
    metadata?: { type: 'select' | 'update' | 'delete' | 'insert'; tables: string[] },
    cacheConfig?: ConstructorParameters<typeof RemotePreparedQuery>[5],
  ) {
    // What is selected by plain SQL has no fields that Drizzle knows: then the rows are objects.
    const asObjects = fields === undefined && mapper === undefined;
    const { logger, cache } = this as unknown as { logger: Logger; cache: Cache };
    return new RemotePreparedQuery(
      (sql, params, how) => this.#run(sql, params, how, asObjects) as Promise<{ rows: Row[] }>,
      query,
      logger,
      cache,
      metadata,
      cacheConfig,
      fields,
      method,
      isResponseInArrayMode,
      mapper,
    ) as never;
  }

  /** As a whole or not at all, in one round trip. */
  override async batch<Items extends BatchItem<'sqlite'>[] | readonly BatchItem<'sqlite'>[]>(
    items: Items,
  ): Promise<unknown[]> {
    const queries = items.map(item => (item as unknown as Preparable)._prepare());
    const statements = queries.map(query => {
      const { sql, params } = query.getQuery();
      return { sql, params: params as SqlParameters };
    });
    const { tenant, wait } = this.#context;
    const results = await tenant.transaction(statements, { ...wait, rowMode: 'array' });
    return results.map((result, index) => {
      const query = queries[index]!;
      return query.mapResult(toAnswer(result, query.getQuery().method, query instanceof SQLiteRaw), true);
    });
  }

  override async transaction<Result>(
    run: (tx: SQLiteProxyTransaction<TFullSchema, TSchema>) => Promise<Result>,
  ): Promise<Result> {
    const { tenant, wait, dialect, schema } = this.#context;
    const transaction = await InteractiveTransaction.begin(tenant, wait);
    const session = new OnewriterSession<TFullSchema, TSchema>(this.#context, transaction);
    const tx = new SQLiteProxyTransaction<TFullSchema, TSchema>('async', dialect, session, schema);
    try {
      const result = await run(tx);
      await transaction.execute('COMMIT');
      return result;
    } catch (error) {
      // Whether it can be rolled back now or only by its lease: what the caller has to know is why.
      await transaction.execute('ROLLBACK').catch(() => {});
      throw error;
    }
  }

  override extractRawGetValueFromBatchResult(result: unknown): unknown {
    return (result as { rows: unknown }).rows;
  }

  async #run(sql: string, params: unknown[], method: Method, asObjects: boolean) {
    const { wait } = this.#context;
    const result = await this.#executor.execute(sql, params as SqlParameters, { ...wait, rowMode: 'array' });
    return toAnswer(result, method, asObjects);
  }
}

/** A result as Drizzle's proxy driver wants it: of `get` one row instead of many. */
function toAnswer(result: Answered, method: Method, asObjects: boolean): unknown {
  const { changes, lastInsertRowid, commitSeq, columns = [], rows = [] } = result;
  if (method === 'run') return { changes, lastInsertRowid, commitSeq } satisfies DrizzleRunResult;
  const shaped = asObjects && method !== 'values' ? rows.map(row => toRowObject(columns, row)) : rows;
  return { rows: method === 'get' ? shaped[0] : shaped };
}

type Answered = Pick<StatementResult<SqlRowArray>, 'changes' | 'lastInsertRowid' | 'columns' | 'rows'> & {
  readonly commitSeq?: number | undefined;
};

/** Statements go through {@link OnewriterSession.prepareQuery}, and batches through its own method. */
function unused(): never {
  throw new TypeError('This way to the database is not used.');
}
