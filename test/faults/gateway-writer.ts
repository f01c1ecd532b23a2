import { isErrorCode, OnewriterError } from '@onewriter/protocol';
import type { ClientSettings } from './client-settings.ts';
import type { Told } from './journal.ts';
import type { OperationStatement } from './operation.ts';

/** Sends writes to the gateway's drop-in endpoints, as a caller without the SDK does. */
export class GatewayWriter {
  readonly #settings: ClientSettings;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
  }

  /** Never throws: a connection that breaks leaves the outcome unknown, one that is refused means not applied. */
  async write(tenant: string, statements: readonly OperationStatement[], timeoutMs: number): Promise<Told> {
    const [only, ...others] = statements;
    const [path, body] =
      others.length === 0
        ? ['query', { tenantId: tenant, query: only!.sql, params: only!.params }]
        : [
            'transaction',
            { tenantId: tenant, queries: statements.map(({ sql, params }) => ({ query: sql, params })) },
          ];
    try {
      const response = await fetch(`${this.#settings.gatewayUrl}/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.#settings.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(timeoutMs),
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

function succeeded(text: string): Told {
  const { result } = JSON.parse(text) as { result?: { changes: number; lastInsertRowid: number } };
  return { outcome: 'committed', rowid: result?.lastInsertRowid || undefined };
}

function refused(body: { code: string; error: string; retryAfterMs?: number; receiptId?: string }): Told {
  const { code, retryAfterMs, receiptId } = body;
  if (code === 'OUTCOME_UNKNOWN') return { outcome: 'unknown', code, receiptId };
  const retryable = isErrorCode(code) && new OnewriterError(code, body.error).retryable;
  return { outcome: 'failed', code, retryable, retryAfterMs };
}
