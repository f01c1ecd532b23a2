import { classifyStatement, type SqlParameters, type StatementClass } from '@onewriter/protocol';
import { answerPragma } from './read/pragma-answers.ts';
import type { Reads } from './read/reads.ts';
import { decodeStatement, OBJECTS, toRowObject, withReplica } from './settle/decode-result.ts';
import type { BindArguments, RunResult, SqlRow, Statement, StatementResult, WriteOptions } from './types.ts';
import { assertNotAborted } from './waits.ts';
import { encodeStatement, flagsOf } from './write/encoded-write.ts';
import { bindParameters, collectParameters } from './write/parameters.ts';
import type { WritePath } from './write/write-path.ts';

/** The ways to a tenant's data that its statements share. */
export interface TenantContext {
  readonly tenant: string;
  readonly reads: Reads;
  readonly writes: WritePath;
}

/** Writes that return no rows for sure, unless they have RETURNING. What SQLite does not know is not in here. */
const WRITE_KEYWORDS: ReadonlySet<string> = new Set([
  ...['INSERT', 'REPLACE', 'UPDATE', 'DELETE', 'CREATE', 'DROP', 'ALTER', 'REINDEX', 'ANALYZE'],
]);

/** A {@link Statement} of a tenant. */
export class TenantStatement<Params extends readonly unknown[] | object, Row>
  implements Statement<Params, Row>
{
  readonly source: string;
  readonly readonly: boolean;
  readonly #context: TenantContext;
  readonly #class: StatementClass;
  readonly #options: WriteOptions;

  /** @throws OnewriterError STATEMENT_NOT_ALLOWED, STATEMENT_TOO_LARGE, INVALID_ARGUMENT, INVALID_VALUE */
  constructor(context: TenantContext, sql: string, options: WriteOptions) {
    this.#class = classifyStatement(sql);
    this.source = sql;
    this.readonly = this.#class.kind === 'read';
    this.#context = context;
    this.#options = options;
  }

  run(...args: BindArguments<Params>): Promise<RunResult> {
    // Not an async function: it would wrap a promise in another for every write.
    try {
      const { answer } = this.#class;
      if (answer?.columns.length === 0) return this.#runAnswered(collectParameters(args));
      if (this.readonly || this.#class.returning) throw returnsData();
      const { tenant, writes } = this.#context;
      return writes.run(tenant, this.#encode(collectParameters(args)), this.#options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async get(...args: BindArguments<Params>): Promise<Row | undefined> {
    const params = collectParameters(args);
    if (this.#class.answer !== undefined) return (await this.#answered(params))[0];
    if (this.readonly) return this.#context.reads.get(this.#request(params)) as Row | undefined;
    return (await this.#writeForRows(params)).rows?.[0] as Row | undefined;
  }

  async all(...args: BindArguments<Params>): Promise<Row[]> {
    const params = collectParameters(args);
    if (this.#class.answer !== undefined) return this.#answered(params);
    if (this.readonly) return this.#context.reads.all(this.#request(params)) as Row[];
    return ((await this.#writeForRows(params)).rows ?? []) as Row[];
  }

  async *iterate(...args: BindArguments<Params>): AsyncGenerator<Row, void, undefined> {
    const params = collectParameters(args);
    if (this.#class.answer !== undefined) {
      yield* await this.#answered(params);
      return;
    }
    if (this.readonly) {
      yield* this.#context.reads.iterate(this.#request(params)) as AsyncGenerator<Row, void, undefined>;
      return;
    }
    for (const row of (await this.#writeForRows(params)).rows ?? []) yield row as Row;
  }

  withOptions(options: WriteOptions): Statement<Params, Row> {
    return new TenantStatement<Params, Row>(this.#context, this.source, { ...this.#options, ...options });
  }

  /** The rows of a PRAGMA that is so already. */
  async #answered(params: SqlParameters): Promise<Row[]> {
    const { columns, rows } = await answerPragma(
      this.#context.reads,
      this.#class.answer!,
      this.#request(params),
    );
    return rows(false).map(row => toRowObject(columns, row) as Row);
  }

  async #runAnswered(params: SqlParameters): Promise<RunResult> {
    await this.#answered(params);
    return { changes: 0, lastInsertRowid: 0, commitSeq: 0 };
  }

  #request(params: SqlParameters) {
    assertNotAborted(this.#options.signal);
    return {
      tenant: this.#context.tenant,
      sql: this.source,
      params: bindParameters(params),
      options: this.#options,
    };
  }

  async #writeForRows(params: SqlParameters): Promise<StatementResult<SqlRow>> {
    // Before anything is sent: a mistake of the program must not have been applied.
    if (!this.#class.returning && WRITE_KEYWORDS.has(this.#class.keyword)) throw returnsNoData();
    const { result, commitSeq, replicatedAt } = await this.#write(params);
    return withReplica(decodeStatement(result!, commitSeq, OBJECTS), replicatedAt);
  }

  #encode(params: SqlParameters) {
    return encodeStatement({ sql: this.source, params }, flagsOf(this.#options));
  }

  #write(params: SqlParameters) {
    return this.#context.writes.send(this.#context.tenant, this.#encode(params), 'commit', this.#options);
  }
}

/** The same words as better-sqlite3. */
function returnsData(): TypeError {
  return new TypeError('This statement returns data. Use get(), all(), or iterate() instead');
}

function returnsNoData(): TypeError {
  return new TypeError('This statement does not return data. Use run() instead');
}

/** Refuses a read where a write is meant. @throws TypeError */
export function assertWrites(statement: StatementClass, operation: string): void {
  if (statement.kind === 'read') throw new TypeError(`This statement only reads. ${operation} is for writes`);
}
