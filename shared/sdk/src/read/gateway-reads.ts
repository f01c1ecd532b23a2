import {
  decodeValue,
  encodeExactValue,
  encodeParameters,
  encodeTaggedValue,
  GatewayClient,
  type GatewayQueryRequest,
  type GatewayQueryResponse,
  type GatewayReceiptResponse,
  type GatewayWriteResult,
  isOnewriterError,
  OnewriterError,
  receiptId,
  type SqlParameters,
  type WireOperationResult,
  type WireParameters,
  type WireStatementResult,
  type WireValue,
} from '@onewriter/protocol';
import { decodeRow } from '../settle/decode-result.ts';
import { ABSENT, type LedgerAnswer, type LedgerReader } from '../settle/ledger.ts';
import type { RowMode, RowOf, SqlRow, WaitOptions } from '../types.ts';
import { assertNotAborted } from '../waits.ts';
import type { ReadRequest, Reads, RowsWithColumns } from './reads.ts';

/** Settings of {@link GatewayReads}. */
export interface GatewayReadsOptions {
  readonly gatewayUrl: string;
  readonly token: string | undefined;
  readonly maxResultRows: number;
  /** Deadline of a read whose caller names none. */
  readonly timeoutMs: number;
}

interface WireRowsWithColumns {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly WireValue[])[];
}

/** Receipts asked for at the same time. */
const MAX_CONCURRENT_RECEIPTS = 8;

/** Reads over HTTP, where the files cannot be opened here. Shapes: protocol, gateway-api.ts. */
export class GatewayReads implements Reads, LedgerReader {
  readonly route = 'gateway';
  readonly openReaders = 0;
  readonly #options: GatewayReadsOptions;
  readonly #client: GatewayClient;
  readonly #closing = new AbortController();

  constructor(options: GatewayReadsOptions) {
    this.#options = options;
    this.#client = new GatewayClient({ url: options.gatewayUrl, token: options.token });
  }

  async get(request: ReadRequest): Promise<SqlRow | undefined> {
    const { columns, rows } = await this.#query(request);
    const first = rows[0];
    return first === undefined ? undefined : decodeRow(columns, first, 'object');
  }

  all(request: ReadRequest): Promise<SqlRow[]> {
    return this.#rows(request, 'object');
  }

  async allArrays(request: ReadRequest): Promise<RowsWithColumns> {
    const { columns, rows } = await this.#query(request);
    const decode = request.safeIntegers ? decodeValue : undefined;
    return { columns: [...columns], rows: rows.map(values => decodeRow(columns, values, 'array', decode)) };
  }

  /** All rows come in one answer, so the gateway's bound on a result holds here too. */
  async *iterate(request: ReadRequest): AsyncGenerator<SqlRow, void, undefined> {
    const { columns, rows } = await this.#query(request);
    for (const values of rows) yield decodeRow(columns, values, 'object');
  }

  lookNow(): undefined {
    return undefined;
  }

  async look(
    tenant: string,
    jobId: string,
    indexes: readonly number[],
    signal?: AbortSignal,
  ): Promise<LedgerAnswer> {
    const results: (WireOperationResult | undefined)[] = [];
    let commitSeq = 0;
    let found = false;
    const ask = async (index: number) => {
      const answer = await this.#receipt(tenant, receiptId(jobId, index), { signal });
      if (answer.state === 'failed') results[index] = { e: answer.error };
      else if (answer.state === 'committed') {
        results[index] = toOperationResult(answer.result, answer.commitSeq);
        commitSeq = answer.commitSeq;
      } else return;
      found = true;
    };
    const [first, ...others] = indexes;
    if (first !== undefined) await ask(first);
    // One job is applied as one: if the first is not there, the others seldom are.
    while (found && others.length > 0) await Promise.all(others.splice(0, MAX_CONCURRENT_RECEIPTS).map(ask));
    return found ? { kind: 'found', results, commitSeq } : ABSENT;
  }

  close(): void {
    this.#closing.abort();
  }

  async #rows<Mode extends RowMode>(request: ReadRequest, mode: Mode): Promise<RowOf<Mode>[]> {
    const { columns, rows } = await this.#query(request);
    if (rows.length > this.#options.maxResultRows) {
      throw new OnewriterError(
        'RESULT_TOO_LARGE',
        `The result has more than ${this.#options.maxResultRows} rows.`,
        {
          tenant: request.tenant,
          maxRows: this.#options.maxResultRows,
        },
      );
    }
    return rows.map(values => decodeRow(columns, values, mode));
  }

  async #query(request: ReadRequest): Promise<WireRowsWithColumns> {
    const params = tagParameters(encodeParameters(request.params as SqlParameters));
    const body: GatewayQueryRequest = {
      sql: request.sql,
      ...(params === undefined ? {} : { params }),
      values: 'tagged',
    };
    const path = `/v1/tenants/${request.tenant}/query`;
    const answer = await this.#fetch<GatewayQueryResponse>(path, request.tenant, request.options, body);
    return { columns: answer.columns ?? [], rows: answer.rows ?? [] };
  }

  #receipt(tenant: string, id: string, options: WaitOptions): Promise<GatewayReceiptResponse> {
    return this.#fetch(`/v1/tenants/${tenant}/receipts/${id}`, tenant, options);
  }

  async #fetch<T>(path: string, tenant: string, options: WaitOptions, json?: object): Promise<T> {
    assertNotAborted(options.signal);
    const closing = this.#closing.signal;
    try {
      return await this.#client.json<T>(path, {
        json,
        tenant,
        timeoutMs: options.timeoutMs ?? this.#options.timeoutMs,
        signal: options.signal === undefined ? closing : AbortSignal.any([closing, options.signal]),
      });
    } catch (error) {
      if (!closing.aborted || options.signal?.aborted || !isOnewriterError(error, 'ABORTED')) throw error;
      throw new OnewriterError('CLOSED', 'The client is closed.', { tenant });
    }
  }
}

/** A bare JSON integer beyond 2^53 is an integer to the gateway, so a real of that size is tagged as what it is. */
function tagParameters(params: WireParameters | undefined): WireParameters | undefined {
  const tag = (value: WireValue) => (typeof value === 'number' ? encodeTaggedValue(value) : value);
  if (params === undefined) return undefined;
  if (isArray(params)) return params.map(tag);
  return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, tag(value)]));
}

const isArray = (params: WireParameters): params is readonly WireValue[] => Array.isArray(params);

/** With its own commit: under an idempotency key that need not be the job's. */
function toOperationResult(result: GatewayWriteResult, commitSeq: number): WireOperationResult {
  if (result.statements) return { t: result.statements.map(toStatementResult), seq: commitSeq };
  const statement = toStatementResult(result);
  return 'c' in statement ? { ...statement, seq: commitSeq } : [statement[0], statement[1], commitSeq];
}

function toStatementResult(result: GatewayQueryResponse): WireStatementResult {
  const changes = result.changes ?? 0;
  const lastInsertRowid = toLedgerValue(result.lastInsertRowid ?? { i: '0' });
  if (result.columns === undefined) return [changes, lastInsertRowid];
  const rows = (result.rows ?? []).map(row => row.map(toLedgerValue));
  return { c: result.columns, r: rows, n: changes, i: lastInsertRowid };
}

/** A value of the gateway as the ledger has it. */
function toLedgerValue(value: WireValue): WireValue {
  return encodeExactValue(decodeValue(value));
}
