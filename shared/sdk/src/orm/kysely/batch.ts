import {
  type Compilable,
  type CompiledQuery,
  DeleteQueryNode,
  DeleteResult,
  InsertQueryNode,
  InsertResult,
  type Kysely,
  type QueryExecutor,
  type QueryResult,
  UpdateQueryNode,
  UpdateResult,
} from 'kysely';
import { OnewriterConnection } from './onewriter-driver.ts';

/** For each query what its own `execute()` would resolve to. */
export type BatchResults<Queries extends readonly Compilable<unknown>[]> = {
  -readonly [Index in keyof Queries]: Queries[Index] extends Compilable<infer Row> ? Row[] : never;
};

/**
 * Runs queries as a whole or not at all, in one round trip: all are known beforehand, so that nothing is held open. Reads
 * among them see the writes before them.
 *
 * @param db over an OnewriterDialect; not a transaction
 * @param queries 1 to LIMITS.maxTransactionStatements, not executed
 * @throws OnewriterError as Tenant.transaction, with `details.statementIndex`
 * @example
 * const [, tasks] = await batch(db, [
 *   db.insertInto('tasks').values({ id: 't1', title: 'one' }),
 *   db.selectFrom('tasks').selectAll(),
 * ]);
 */
export async function batch<DB, const Queries extends readonly Compilable<unknown>[]>(
  db: Kysely<DB>,
  queries: Queries,
): Promise<BatchResults<Queries>> {
  const executor = db.getExecutor();
  const compiled = queries.map(query => query.compile());
  const results = await executor.provideConnection(async connection => {
    if (connection instanceof OnewriterConnection) return connection.transact(compiled);
    throw new TypeError('batch() is for a database over an OnewriterDialect.');
  });
  const shaped = results.map((result, index) => shape(executor, compiled[index]!, result));
  return (await Promise.all(shaped)) as BatchResults<Queries>;
}

/** What the query's own execute() makes of its result; plugins have their say. */
async function shape(
  executor: QueryExecutor,
  query: CompiledQuery,
  result: QueryResult<unknown>,
): Promise<unknown[]> {
  const { rows, numAffectedRows, insertId } = await executor
    .withConnectionProvider({ provideConnection: consumer => consumer(answering(result)) })
    .executeQuery(query);
  const node = query.query;
  if ('returning' in node && node.returning !== undefined) return rows;
  if (InsertQueryNode.is(node)) return [new InsertResult(insertId, numAffectedRows)];
  if (UpdateQueryNode.is(node)) return [new UpdateResult(numAffectedRows ?? 0n, undefined)];
  if (DeleteQueryNode.is(node)) return [new DeleteResult(numAffectedRows ?? 0n)];
  return rows;
}

/** A connection that has the answer already. */
function answering(result: QueryResult<unknown>) {
  return {
    executeQuery: async <Row>() => result as QueryResult<Row>,
    async *streamQuery<Row>() {
      yield result as QueryResult<Row>;
    },
  };
}
