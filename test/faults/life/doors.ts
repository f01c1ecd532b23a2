import { setTimeout as pause } from 'node:timers/promises';
import { createClient, LibsqlError } from '@libsql/client/http';
import { ERROR_CODES, isErrorCode, OnewriterError } from '@onewriter/protocol';
import type { Onewriter, Step, StepsAnswer, Tenant } from '@onewriter/sdk';
import { monotonicMs } from '../journal.ts';
import type { OperationStatement } from '../operation.ts';

/*
 * The ways in. Each takes the same statements as one transaction, and answers in the same shape, so that what is written does
 * not depend on the way it takes.
 */

/** What one statement answered. */
export interface StatementAnswer {
  readonly changes: number;
  /** Rows as arrays of values. */
  readonly rows: readonly (readonly unknown[])[];
}

/** A caller's answer. */
export type Answer =
  | {
      readonly outcome: 'committed';
      readonly results: readonly StatementAnswer[];
      readonly commitSeq?: number | undefined;
      readonly receiptId?: string | undefined;
    }
  | {
      readonly outcome: 'failed' | 'unknown';
      readonly code: string;
      readonly retryable: boolean;
      readonly receiptId?: string | undefined;
      /** Results of the statements that had been answered before. */
      readonly results: readonly StatementAnswer[];
    };

/** A way to write. */
export interface Door {
  readonly name: string;
  /** Whether its writes are those of one SDK client. */
  readonly inOrder: boolean;
  /** Whether it takes one statement, and several. */
  readonly takes: { readonly one: boolean; readonly many: boolean };
  /** Whether statements among them may read, so that their rows come back. */
  readonly reads: boolean;
  /** Sent before the first `await`. Never throws but for a fault of the program. */
  write(tenant: string, statements: readonly OperationStatement[], options: DoorOptions): Promise<Answer>;
}

export interface DoorOptions {
  readonly timeoutMs: number;
  /** Between the requests of a transaction that stays open. */
  readonly thinkMs: number;
}

/** A way to read one statement. */
export interface ReadDoor {
  readonly name: string;
  /** Rows as arrays. @throws ReadFailure */
  read(
    tenant: string,
    sql: string,
    params: OperationStatement['params'],
  ): Promise<readonly (readonly unknown[])[]>;
}

/** A read that was not answered. */
export class ReadFailure extends Error {
  readonly code: string;
  readonly retryable: boolean;

  constructor(code: string, retryable: boolean) {
    super(`The read failed: ${code}`);
    this.name = 'ReadFailure';
    this.code = code;
    this.retryable = retryable;
  }
}

/** Where the gateway is. */
export interface GatewayAddress {
  readonly url: string;
  readonly token: string;
}

/** After a request's own deadline: its answer has to come over the network. */
const HTTP_MARGIN_MS = 2_000;
const READ_TIMEOUT_MS = 10_000;

/** The ways of an SDK client. */
export function sdkDoors(client: Onewriter): readonly Door[] {
  const inOrder = true;
  const many = { one: true, many: true };
  return [
    {
      ...{ name: 'sdk.run', inOrder, reads: false, takes: { one: true, many: false } },
      write: (tenant, [statement], { timeoutMs }) =>
        answerTo(async () => {
          const { sql, params } = statement!;
          const { changes, commitSeq } = await client
            .tenant(tenant)
            .prepare(sql, { timeoutMs })
            .run(...params);
          return { outcome: 'committed', commitSeq, results: [{ changes, rows: [] }] };
        }),
    },
    {
      ...{ name: 'sdk.enqueue', inOrder, reads: false, takes: { one: true, many: false } },
      write: (tenant, [statement], { timeoutMs }) =>
        answerTo(() => enqueue(client.tenant(tenant), statement!, timeoutMs)),
    },
    {
      ...{ name: 'sdk.transaction', inOrder, reads: true, takes: many },
      write: (tenant, statements, { timeoutMs }) =>
        answerTo(async () => {
          const results = await client
            .tenant(tenant)
            .transaction(statements, { timeoutMs, rowMode: 'array' });
          const answers = results.map(({ changes, rows = [] }) => ({ changes, rows }));
          return { outcome: 'committed', commitSeq: results[0]!.commitSeq, results: answers };
        }),
    },
    {
      ...{ name: 'sdk.steps', inOrder, reads: true, takes: many },
      write: (tenant, statements, { timeoutMs }) =>
        answerTo(async () =>
          ofSteps(await client.tenant(tenant).steps({ steps: chainOf(statements) }, { timeoutMs }), 1),
        ),
    },
    {
      ...{ name: 'sdk.open', inOrder, reads: true, takes: { one: false, many: true } },
      write: (tenant, statements, options) =>
        answerTo(() => openTransaction(client.tenant(tenant), statements, options)),
    },
  ];
}

/** The ways through the gateway. */
export function gatewayDoors(gateway: GatewayAddress): readonly Door[] {
  const inOrder = false;
  return [
    {
      ...{ name: '/v1 query', inOrder, reads: false, takes: { one: true, many: false } },
      write: async (tenant, [statement], { timeoutMs }) => {
        const body = { ...statement, timeoutMs };
        const answer = await post(gateway, `/v1/tenants/${tenant}/query`, body, timeoutMs);
        return toAnswer(answer, ({ changes, commitSeq }) => ({
          commitSeq,
          results: [{ changes, rows: [] }],
        }));
      },
    },
    {
      ...{ name: '/v1 transaction', inOrder, reads: true, takes: { one: true, many: true } },
      write: async (tenant, statements, { timeoutMs }) => {
        const body = { statements, timeoutMs };
        const answer = await post(gateway, `/v1/tenants/${tenant}/transaction`, body, timeoutMs);
        return toAnswer(answer, ({ results, commitSeq }) => ({
          commitSeq,
          results: results.map(({ changes, rows = [] }: { changes: number; rows?: object[] }) => ({
            changes,
            rows: rows.map(row => Object.values(row)),
          })),
        }));
      },
    },
    {
      ...{ name: '/query', inOrder, reads: false, takes: { one: true, many: false } },
      write: async (tenant, [statement], { timeoutMs }) => {
        const body = { tenantId: tenant, query: statement!.sql, params: statement!.params };
        const answer = await post(gateway, '/query', body, timeoutMs);
        return toAnswer(answer, ({ result }) => ({ results: [{ changes: result.changes, rows: [] }] }));
      },
    },
    {
      ...{ name: '/transaction', inOrder, reads: true, takes: { one: true, many: true } },
      write: async (tenant, statements, { timeoutMs }) => {
        const body = {
          tenantId: tenant,
          queries: statements.map(({ sql, params }) => ({ query: sql, params })),
        };
        const answer = await post(gateway, '/transaction', body, timeoutMs);
        return toAnswer(answer, ({ results }) => ({
          results: results.map((result: { changes: number } | object[]) =>
            Array.isArray(result)
              ? { changes: 0, rows: result.map(row => Object.values(row)) }
              : { changes: result.changes, rows: [] },
          ),
        }));
      },
    },
    ...(['batch', 'write', 'deferred'] as const).map(
      (mode): Door => ({
        ...{ name: `libSQL ${mode}`, inOrder, reads: true, takes: { one: mode === 'batch', many: true } },
        write: (tenant, statements, options) => writeLibsql(gateway, tenant, mode, statements, options),
      }),
    ),
  ];
}

/** All ways to read. */
export function readDoors(client: Onewriter, gateway: GatewayAddress): readonly ReadDoor[] {
  return [
    {
      name: 'sdk read',
      read: async (tenant, sql, params) => {
        try {
          const { rows = [] } = await client
            .tenant(tenant)
            .execute(sql, [...params], { rowMode: 'array', timeoutMs: READ_TIMEOUT_MS });
          return rows;
        } catch (error) {
          if (!(error instanceof OnewriterError)) throw error;
          throw new ReadFailure(error.code, error.retryable);
        }
      },
    },
    {
      name: '/v1 read',
      read: async (tenant, sql, params) => {
        const body = { sql, params, method: 'values' };
        return rowsOf(
          await post(gateway, `/v1/tenants/${tenant}/query`, body, READ_TIMEOUT_MS),
          ({ rows }) => rows,
        );
      },
    },
    {
      name: '/query read',
      read: async (tenant, sql, params) => {
        const body = { tenantId: tenant, query: sql, params };
        const answer = await post(gateway, '/query', body, READ_TIMEOUT_MS);
        return rowsOf(answer, ({ result }) => result.map((row: object) => Object.values(row)));
      },
    },
    {
      name: 'libSQL read',
      read: async (tenant, sql, params) => {
        const libsql = openLibsql(gateway, tenant, READ_TIMEOUT_MS);
        try {
          const { rows } = await libsql.execute({ sql, args: [...params] });
          return rows.map(row => Array.from(row));
        } catch (error) {
          const { code, retryable } = libsqlFailure(error);
          throw new ReadFailure(code, retryable);
        } finally {
          libsql.close();
        }
      },
    },
  ];
}

async function answerTo(write: () => Promise<Answer>): Promise<Answer> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    const { code, retryable, details } = error;
    const outcome = code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed';
    return { outcome, code, retryable, receiptId: details.receiptId, results: [] };
  }
}

async function enqueue(
  tenant: Tenant,
  { sql, params }: OperationStatement,
  timeoutMs: number,
): Promise<Answer> {
  const due = monotonicMs() + timeoutMs;
  const receipt = await tenant.enqueue(sql, [...params], { timeoutMs });
  try {
    const left = Math.max(1, Math.ceil(due - monotonicMs()));
    const { changes, commitSeq } = await receipt.committed({ timeoutMs: left });
    return { outcome: 'committed', commitSeq, receiptId: receipt.id, results: [{ changes, rows: [] }] };
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    const { code, retryable } = error;
    // Neither the queue nor the ledger knows a write that was deleted with its tenant.
    const outcome = code === 'OUTCOME_UNKNOWN' || code === 'RECEIPT_NOT_FOUND' ? 'unknown' : 'failed';
    return { outcome, code, retryable, receiptId: receipt.id, results: [] };
  }
}

/** As libSQL's clients send a batch. */
function chainOf(statements: readonly OperationStatement[]): Step[] {
  return chain([{ sql: 'BEGIN' }, ...statements, { sql: 'COMMIT' }]);
}

/**
 * Each statement runs only where the one before it did, and the transaction is rolled back where one did not: without conditions
 * the steps behind a failed one run all the same, COMMIT too.
 */
function chain(statements: readonly { readonly sql: string }[]): Step[] {
  const steps: Step[] = statements.map((statement, index) => ({
    ...statement,
    ...(index === 0 ? {} : { condition: { type: 'ok', step: index - 1 } }),
  }));
  steps.push({ sql: 'ROLLBACK', condition: { type: 'not', cond: { type: 'ok', step: steps.length - 1 } } });
  return steps;
}

/** @param first the step of the first statement */
function ofSteps({ results, commitSeq }: StepsAnswer, first: number): Answer {
  const answers: StatementAnswer[] = [];
  for (const [index, result] of results.entries()) {
    if (result.type === 'error') {
      const { code } = result.error;
      return { outcome: 'failed', code, retryable: ERROR_CODES[code].retryable, results: answers };
    }
    if (result.type === 'ok' && index >= first) answers.push({ changes: result.changes, rows: result.rows });
  }
  return { outcome: 'committed', commitSeq, results: answers };
}

/** BEGIN IMMEDIATE and the first statement, time to think, and the rest with COMMIT. */
async function openTransaction(
  tenant: Tenant,
  [first, ...rest]: readonly OperationStatement[],
  { timeoutMs, thinkMs }: DoorOptions,
): Promise<Answer> {
  const due = monotonicMs() + timeoutMs;
  const begin = chain([{ sql: 'BEGIN IMMEDIATE' }, first!]);
  const begun = await tenant.steps({ steps: begin, interactive: true }, { timeoutMs });
  const answer = ofSteps(begun, 1);
  const id = begun.transaction?.id;
  if (answer.outcome !== 'committed') return answer;
  if (id === undefined) return { outcome: 'failed', code: 'INTERNAL', retryable: false, results: [] };
  await pause(thinkMs);
  const left = Math.max(1, Math.ceil(due - monotonicMs()));
  const steps = chain([...rest, { sql: 'COMMIT' }]);
  const ended = await answerTo(async () =>
    ofSteps(await tenant.steps({ steps, transaction: id, interactive: true }, { timeoutMs: left }), 0),
  );
  return { ...ended, results: [...answer.results, ...ended.results] };
}

/** What came back over HTTP; without a status where the connection broke, `refused` where there was none. */
type HttpAnswer =
  | { readonly status: number; readonly body: string }
  | { readonly broken: string; readonly refused: boolean };

async function post(
  { url, token }: GatewayAddress,
  path: string,
  body: unknown,
  timeoutMs: number,
): Promise<HttpAnswer> {
  try {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs + HTTP_MARGIN_MS),
    });
    return { status: response.status, body: await response.text() };
  } catch (error) {
    const code = (error as { cause?: { code?: string } }).cause?.code;
    return { broken: code ?? (error as Error).name, refused: code === 'ECONNREFUSED' };
  }
}

/** Drop-in endpoints have the error beside its code, `/v1` has it within. */
function failureOf(answer: HttpAnswer): Extract<Answer, { outcome: 'failed' | 'unknown' }> | undefined {
  if ('broken' in answer) {
    const outcome = answer.refused ? 'failed' : 'unknown';
    return { outcome, code: answer.broken, retryable: true, results: [] };
  }
  if (answer.status < 300) return undefined;
  const body = JSON.parse(answer.body) as {
    readonly code?: string;
    readonly receiptId?: string;
    readonly error: string | { readonly code: string; readonly details?: { readonly receiptId?: string } };
  };
  const code = (typeof body.error === 'string' ? body.code : body.error.code) ?? 'INTERNAL';
  const receiptId = typeof body.error === 'string' ? body.receiptId : body.error.details?.receiptId;
  const outcome = code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed';
  return {
    outcome,
    code,
    retryable: isErrorCode(code) && ERROR_CODES[code].retryable,
    receiptId,
    results: [],
  };
}

// biome-ignore lint/suspicious/noExplicitAny: the shapes of four endpoints, read where they are used
type Body = any;

function toAnswer(
  answer: HttpAnswer,
  read: (body: Body) => { results: StatementAnswer[]; commitSeq?: number | undefined },
): Answer {
  const failure = failureOf(answer);
  if (failure !== undefined) return failure;
  return { outcome: 'committed', ...read(JSON.parse((answer as { body: string }).body)) };
}

function rowsOf(answer: HttpAnswer, read: (body: Body) => unknown[][]): unknown[][] {
  const failure = failureOf(answer);
  if (failure !== undefined) throw new ReadFailure(failure.code, failure.retryable);
  return read(JSON.parse((answer as { body: string }).body));
}

function openLibsql({ url, token }: GatewayAddress, tenant: string, timeoutMs: number) {
  return createClient({
    url: `${url}/t/${tenant}/`,
    authToken: token,
    fetch: (request: Request) => fetch(request, { signal: AbortSignal.timeout(timeoutMs + HTTP_MARGIN_MS) }),
  });
}

async function writeLibsql(
  gateway: GatewayAddress,
  tenant: string,
  mode: 'batch' | 'write' | 'deferred',
  statements: readonly OperationStatement[],
  { timeoutMs, thinkMs }: DoorOptions,
): Promise<Answer> {
  const libsql = openLibsql(gateway, tenant, timeoutMs);
  const results: StatementAnswer[] = [];
  const args = ({ sql, params }: OperationStatement) => ({ sql, args: [...params] });
  try {
    if (mode === 'batch') {
      for (const { rowsAffected, rows } of await libsql.batch(statements.map(args), 'write')) {
        results.push({ changes: rowsAffected, rows: rows.map(row => Array.from(row)) });
      }
      return { outcome: 'committed', results };
    }
    const transaction = await libsql.transaction(mode);
    try {
      for (const [index, statement] of statements.entries()) {
        const { rowsAffected, rows } = await transaction.execute(args(statement));
        results.push({ changes: rowsAffected, rows: rows.map(row => Array.from(row)) });
        if (index === 0) await pause(thinkMs);
      }
      await transaction.commit();
      return { outcome: 'committed', results };
    } finally {
      transaction.close();
    }
  } catch (error) {
    const failure = libsqlFailure(error);
    return { outcome: failure.isCertain ? 'failed' : 'unknown', ...failure, results };
  } finally {
    libsql.close();
  }
}

/** Codes with which a libSQL client knows that nothing was committed; of all others it does not. */
const CERTAIN: ReadonlySet<string> = new Set([
  ...['SQLITE_CONSTRAINT', 'SQLITE_BUSY', 'BLOCKED', 'TRANSACTION_BUSY', 'TRANSACTION_TIMEOUT'],
]);

function libsqlFailure(error: unknown): { code: string; retryable: boolean; isCertain: boolean } {
  // A connection that breaks is an error of fetch, or of the client's own kinds.
  if (!(error instanceof Error)) throw error;
  const code = error instanceof LibsqlError ? error.code : error.name;
  return { code, retryable: true, isCertain: CERTAIN.has(code) };
}
