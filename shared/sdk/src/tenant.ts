import {
  assertTenantId,
  classifyStatement,
  OnewriterError,
  type SqlParameters,
  splitScript,
} from '@onewriter/protocol';
import type { OwnerReads } from './read/owner-reads.ts';
import { answerPragma } from './read/pragma-answers.ts';
import type { Reads } from './read/reads.ts';
import { shapeOf } from './read/row-shape.ts';
import type { GatewayReplica } from './replica/gateway-replica.ts';
import type { Branch, BranchOptions, HistoryOptions, HistoryPoint } from './replica/replica-types.ts';
import {
  decodeStatement,
  decodeTransaction,
  type RowShape,
  toRowObject,
  withReplica,
} from './settle/decode-result.ts';
import { decodeSteps } from './settle/decode-steps.ts';
import type { JobStates } from './settle/job-states.ts';
import type { LedgerReader } from './settle/ledger.ts';
import { TenantReceipt } from './settle/receipt.ts';
import { assertWrites, TenantStatement } from './statement.ts';
import type { StepsAnswer, StepsOptions, StepsRequest } from './steps-types.ts';
import type {
  EnqueueOptions,
  ExecuteOptions,
  ExecuteResult,
  OutcomeOptions,
  PragmaOptions,
  Receipt,
  RowMode,
  RowOf,
  ScriptResult,
  SealedResult,
  SealedWrite,
  SqlRow,
  SqlRowArray,
  Statement,
  StatementResult,
  Tenant,
  TransactionStatement,
  WaitOptions,
  WriteOptions,
} from './types.ts';
import { assertNotAborted } from './waits.ts';
import { assertAllowed, assertStatements, checkTransaction } from './write/assert-writes.ts';
import { encodeSteps } from './write/encode-steps.ts';
import {
  type EncodedWrite,
  encodeScript,
  encodeStatement,
  encodeTransaction,
  flagsOf,
} from './write/encoded-write.ts';
import { decodeImportPiece, encodeImportPiece } from './write/import-pieces.ts';
import type { ImportPiece, ImportPieceResult } from './write/import-types.ts';
import { assertParameters, bindParameters } from './write/parameters.ts';
import { openSealed } from './write/sealed-write.ts';
import type { WritePath } from './write/write-path.ts';

/** What all tenants of a client share. */
export interface ClientContext {
  readonly reads: Reads & LedgerReader;
  /** For steps that only read, whatever the way of other reads. */
  readonly owner: Pick<OwnerReads, 'steps'>;
  readonly writes: WritePath;
  readonly replica: Pick<GatewayReplica, 'history' | 'branch' | 'close'>;
  readonly states: JobStates;
  readonly writeTimeoutMs: number;
}

/** {@link Tenant}: turns calls into reads and writes; it holds nothing itself. */
export class TenantClient implements Tenant {
  readonly id: string;
  readonly #context: ClientContext;

  /** @throws OnewriterError INVALID_TENANT */
  constructor(context: ClientContext, id: string) {
    this.id = assertTenantId(id);
    this.#context = context;
  }

  prepare<Params extends readonly unknown[] | object = SqlParameters, Row = SqlRow>(
    sql: string,
    options: WriteOptions = {},
  ): Statement<Params, Row> {
    const { reads, writes } = this.#context;
    return new TenantStatement<Params, Row>({ tenant: this.id, reads, writes }, sql, options);
  }

  async execute<Mode extends RowMode = 'object'>(
    sql: string,
    params?: SqlParameters,
    options: ExecuteOptions<Mode> = {},
  ): Promise<ExecuteResult<RowOf<Mode>>> {
    const shape = shapeOf(options);
    const checked = assertParameters(params);
    const { kind, answer: known } = classifyStatement(sql);
    if (known !== undefined) {
      const found = await answerPragma(this.#context.reads, known, { tenant: this.id, options });
      return this.#shapeRead(found.columns, found.rows(shape.safeIntegers), shape);
    }
    if (kind === 'read') return this.#executeRead(sql, checked, options, shape);
    const payload = encodeStatement({ sql, params: checked }, flagsOf(options));
    const answer = await this.#context.writes.send(this.id, payload, 'commit', options);
    const decoded = decodeStatement(answer.result!, answer.commitSeq, shape);
    return withReplica({ kind: 'write', ...decoded }, answer.replicatedAt);
  }

  async exec(script: string, options: WriteOptions = {}): Promise<ScriptResult> {
    const statements = splitScript(script);
    assertStatements(statements, this.id);
    assertAllowed(statements);
    const payload = encodeScript(script, flagsOf(options));
    const { commitSeq, replicatedAt } = await this.#context.writes.send(this.id, payload, 'commit', options);
    return withReplica({ commitSeq }, replicatedAt);
  }

  async transaction<Mode extends RowMode = 'object'>(
    statements: readonly TransactionStatement[],
    options: ExecuteOptions<Mode> = {},
  ): Promise<StatementResult<RowOf<Mode>>[]> {
    const shape = shapeOf(options);
    const payload = encodeTransaction(checkTransaction(statements, this.id), flagsOf(options));
    const { writes } = this.#context;
    const { result, commitSeq, replicatedAt } = await writes.send(this.id, payload, 'commit', options);
    return decodeTransaction(result!, commitSeq, shape).map(each => withReplica(each, replicatedAt));
  }

  async steps(request: StepsRequest, options: StepsOptions = {}): Promise<StepsAnswer> {
    const { writes, writeTimeoutMs } = this.#context;
    const payload = encodeSteps(request, options.timeoutMs ?? writeTimeoutMs, options);
    if (payload.isRead) return this.#context.owner.steps(this.id, payload, options);
    const isImport = request.steps.some(({ importRows }) => importRows !== undefined);
    const { result, commitSeq } = await writes.sendSteps(
      this.id,
      payload,
      request.transaction,
      options,
      isImport,
    );
    return decodeSteps(result!, commitSeq);
  }

  async sendSealed<Mode extends RowMode = 'object'>(
    sealed: SealedWrite,
    options: OutcomeOptions<Mode> = {},
  ): Promise<SealedResult<RowOf<Mode>>> {
    const shape = shapeOf(options);
    const { writes } = this.#context;
    const { result, commitSeq, replicatedAt } = await writes.send(
      this.id,
      openSealed(sealed),
      'commit',
      options,
    );
    const decoded = sealed.kind === 'script' ? [] : decodeTransaction(result!, commitSeq, shape);
    const results = decoded.map(each => withReplica(each, replicatedAt));
    return withReplica({ results, commitSeq }, replicatedAt);
  }

  async enqueueSealed(sealed: SealedWrite, options: WaitOptions = {}): Promise<Receipt> {
    return this.#enqueue(openSealed(sealed), options);
  }

  async importRows(piece: ImportPiece, options: WaitOptions = {}): Promise<ImportPieceResult> {
    const payload = encodeImportPiece(piece);
    const { result, commitSeq } = await this.#context.writes.sendWhenFree(this.id, payload, options);
    return decodeImportPiece(result!, commitSeq);
  }

  async pragma(sql: string, options: PragmaOptions = {}): Promise<unknown> {
    const source = `PRAGMA ${sql}`;
    if (classifyStatement(source).kind !== 'read') {
      const message = 'pragma() only reads; what changes the database goes through prepare() or exec().';
      throw new OnewriterError('STATEMENT_NOT_ALLOWED', message, { tenant: this.id });
    }
    const { simple, ...wait } = options;
    if (!simple) return this.prepare(source, wait).all();
    const { rows } = await this.execute(source, [], { ...wait, rowMode: 'array' });
    return rows?.[0]?.[0];
  }

  async enqueue(sql: string, params?: SqlParameters, options: EnqueueOptions = {}): Promise<Receipt> {
    assertWrites(classifyStatement(sql), 'enqueue()');
    const flags = { ...flagsOf(options), detached: true };
    const payload = encodeStatement({ sql, params: assertParameters(params) }, flags);
    return this.#enqueue(payload, options);
  }

  async history(options: HistoryOptions = {}): Promise<readonly HistoryPoint[]> {
    return this.#context.replica.history(this.id, options);
  }

  async branch(options: BranchOptions): Promise<Branch> {
    return this.#context.replica.branch(this.id, options);
  }

  receipt(id: string): Receipt {
    return this.#receipt(id);
  }

  async #enqueue(payload: EncodedWrite, options: WaitOptions): Promise<Receipt> {
    const { writes } = this.#context;
    const { receipt, waitsForReplica } = await writes.send(this.id, payload, 'acceptance', options);
    return this.#receipt(receipt, waitsForReplica === true);
  }

  /** @param waitsForReplica known without its id, from the durability of the tenant */
  #receipt(id: string, waitsForReplica?: boolean): Receipt {
    const { states, reads, writes, writeTimeoutMs } = this.#context;
    const context = { tenant: this.id, states, ledger: reads, settler: writes.settler, writeTimeoutMs };
    return new TenantReceipt(context, id, waitsForReplica);
  }

  async #executeRead<Mode extends RowMode>(
    sql: string,
    params: SqlParameters,
    options: ExecuteOptions<Mode>,
    shape: RowShape<Mode>,
  ): Promise<ExecuteResult<RowOf<Mode>>> {
    assertNotAborted(options.signal);
    const { safeIntegers } = shape;
    const request = { tenant: this.id, sql, params: bindParameters(params), options, safeIntegers };
    const { columns, rows } = await this.#context.reads.allArrays(request);
    return this.#shapeRead(columns, rows, shape);
  }

  #shapeRead<Mode extends RowMode>(
    columns: readonly string[],
    rows: SqlRowArray[],
    { mode }: RowShape<Mode>,
  ): ExecuteResult<RowOf<Mode>> {
    // A PRAGMA that is answered because its effect is true already returns no rows, as in SQLite.
    if (columns.length === 0) return { kind: 'read', changes: 0, lastInsertRowid: 0 };
    const shaped = mode === 'array' ? rows : rows.map(values => toRowObject(columns, values));
    return { kind: 'read', columns, rows: shaped as RowOf<Mode>[], changes: 0, lastInsertRowid: 0 };
  }
}
