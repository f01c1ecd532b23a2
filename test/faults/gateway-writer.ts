import { isErrorCode, OnewriterError } from '@onewriter/protocol';
import type { ClientSettings } from './client-settings.ts';
import type { GivenAnswer } from './journal.ts';
import type { OperationStatement } from './operation.ts';

/**
 * The gateway is given the caller's deadline at /v1, and must keep it: the caller waits this much longer, so that a late
 * answer is heard and journaled as late. The drop-in endpoints take no deadline: there the caller hangs up at its own.
 */
const LATE_ANSWER_MS = 10_000;

/** A request, and how its answer is read. */
interface GatewayRequest {
  readonly path: string;
  readonly body: unknown;
  readonly waitMs: number;
  readonly succeeded: (text: string) => GivenAnswer;
}

const WARM_UP_MS = 1_000;

/** Sends writes to the gateway, as callers without the SDK do: to the drop-in endpoints and to /v1 in turn. */
export class GatewayWriter {
  readonly #settings: ClientSettings;
  #sent = 0;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
  }

  /** The first fetch of a process loads Node's HTTP client, in a tenth of a second and more: no write's deadline pays for it. */
  async warmUp(): Promise<void> {
    // Without a gateway the first write is refused like any other.
    await fetch(`${this.#settings.gatewayUrl}/livez`, { signal: AbortSignal.timeout(WARM_UP_MS) })
      .then(response => response.text())
      .catch(() => {});
  }

  /** Never throws: a connection that breaks leaves the outcome unknown, one that is refused means not applied. */
  async write(
    tenant: string,
    statements: readonly OperationStatement[],
    timeoutMs: number,
  ): Promise<GivenAnswer> {
    const toRequest = ++this.#sent % 2 === 0 ? toDropIn : toV1;
    const { path, body, waitMs, succeeded } = toRequest(tenant, statements, timeoutMs);
    try {
      const response = await fetch(`${this.#settings.gatewayUrl}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.#settings.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(waitMs),
      });
      const text = await response.text();
      return response.ok ? succeeded(text) : refused(JSON.parse(text));
    } catch (error) {
      const code = (error as { cause?: { code?: string } }).cause?.code;
      return code === 'ECONNREFUSED'
        ? { outcome: 'failed', code, retryable: true }
        : { outcome: 'unknown', code: code ?? (error as Error).name };
    }
  }
}

function toDropIn(
  tenant: string,
  statements: readonly OperationStatement[],
  timeoutMs: number,
): GatewayRequest {
  const [only, ...others] = statements;
  const [path, body] =
    others.length === 0
      ? ['/query', { tenantId: tenant, query: only!.sql, params: only!.params }]
      : [
          '/transaction',
          { tenantId: tenant, queries: statements.map(({ sql, params }) => ({ query: sql, params })) },
        ];
  const succeeded = (text: string): GivenAnswer => {
    const { result } = JSON.parse(text) as { result?: { lastInsertRowid: number } };
    return { outcome: 'committed', rowid: result?.lastInsertRowid || undefined };
  };
  return { path, body, waitMs: timeoutMs, succeeded };
}

function toV1(tenant: string, statements: readonly OperationStatement[], timeoutMs: number): GatewayRequest {
  const [only, ...others] = statements;
  const [route, body] =
    others.length === 0
      ? ['query', { sql: only!.sql, params: only!.params, timeoutMs }]
      : ['transaction', { statements, timeoutMs }];
  const succeeded = (text: string): GivenAnswer => {
    const answer = JSON.parse(text) as { commitSeq: number; lastInsertRowid?: number };
    return {
      outcome: 'committed',
      commitSeq: answer.commitSeq,
      rowid: answer.lastInsertRowid || undefined,
    };
  };
  return { path: `/v1/tenants/${tenant}/${route}`, body, waitMs: timeoutMs + LATE_ANSWER_MS, succeeded };
}

/** The drop-in endpoints answer with an error's fields, /v1 with the error in one. */
interface ErrorBody {
  readonly code: string;
  readonly details?: { readonly retryAfterMs?: number; readonly receiptId?: string };
  readonly retryAfterMs?: number;
  readonly receiptId?: string;
}

function refused(body: ErrorBody | { readonly error: ErrorBody }): GivenAnswer {
  const flat = 'error' in body && typeof body.error === 'object' ? body.error : (body as ErrorBody);
  const { code } = flat;
  const { retryAfterMs, receiptId } = { ...flat, ...flat.details };
  if (code === 'OUTCOME_UNKNOWN') return { outcome: 'unknown', code, receiptId };
  const retryable = isErrorCode(code) && new OnewriterError(code, code).retryable;
  return { outcome: 'failed', code, retryable, retryAfterMs };
}
