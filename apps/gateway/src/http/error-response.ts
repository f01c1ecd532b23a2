import { type GatewayErrorResponse, OnewriterError, toWireError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { GatewayEnv } from '../gateway-env.ts';

/**
 * Error of the drop-in endpoints. `error` and `code` are what proxies of this kind answer; the rest is there where
 * it is known.
 */
export interface DropInErrorResponse {
  /** For people. */
  readonly error: string;
  /** The same, of the libSQL protocol. */
  readonly message?: string | undefined;
  /** One of the error table's. */
  readonly code: string;
  /** The failing statement of a transaction, from 0. */
  readonly index?: number | undefined;
  /** SQLite's extended result code. */
  readonly sqliteCode?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  /** Ask for the outcome later: `GET /v1/tenants/<tenant>/receipts/<receiptId>`. */
  readonly receiptId?: string | undefined;
  readonly requestId: string;
}

/** The libSQL protocol's paths. */
const HRANA_PATH = /^\/(?:t(?:\/|$)|v[23](?:\/|$)|v3-protobuf)/;

function isHranaPath(path: string): boolean {
  return HRANA_PATH.test(path);
}

/**
 * Answers an error with the HTTP status of its code; the map is `status` in ERROR_CODES (shared/protocol/src/error-codes.ts).
 * Paths under /v1 get a {@link GatewayErrorResponse}, all others a {@link DropInErrorResponse}. An internal error is answered
 * without its own message: the log has that.
 */
export function errorResponse(c: Context<GatewayEnv>, error: OnewriterError): Response {
  const requestId = c.get('requestId');
  const { code, details } = error;
  const message =
    code === 'INTERNAL' ? 'Something went wrong; the log has it by this request id.' : error.message;

  if (details.retryAfterMs !== undefined) {
    c.header('Retry-After', String(Math.max(1, Math.ceil(details.retryAfterMs / 1_000))));
  }
  if (code === 'UNAUTHENTICATED') c.header('WWW-Authenticate', 'Bearer realm="onewriter"');
  // What is left of a refused body is not read: the connection ends with the answer.
  if (code === 'PAYLOAD_TOO_LARGE') c.header('Connection', 'close');

  const status = error.status as ContentfulStatusCode;
  if (c.req.path.startsWith('/v1/')) {
    const body: GatewayErrorResponse = { error: { ...toWireError(error), message, requestId } };
    return c.json(body, status);
  }
  // Clients of libSQL show their callers the message, and nothing else.
  const shown = isHranaPath(c.req.path) ? withReceipt(message, details) : message;
  const body: DropInErrorResponse = {
    error: shown,
    // What the JavaScript clients of libSQL read; those for Go read `error`.
    message: isHranaPath(c.req.path) ? shown : undefined,
    code,
    index: details.statementIndex,
    sqliteCode: details.sqliteCode,
    retryAfterMs: details.retryAfterMs,
    receiptId: details.receiptId,
    requestId,
  };
  return c.json(body, status);
}

/** A message that says where the outcome can be asked for. */
function withReceipt(message: string, { tenant, receiptId }: OnewriterError['details']): string {
  if (tenant === undefined || receiptId === undefined) return message;
  return `${message} Ask for the outcome: GET /v1/tenants/${tenant}/receipts/${receiptId}`;
}

/** What went wrong, as an OnewriterError: anything unexpected becomes INTERNAL. */
export function asOnewriterError(error: unknown): OnewriterError {
  if (error instanceof OnewriterError) return error;
  return new OnewriterError('INTERNAL', error instanceof Error ? error.message : String(error), {}, error);
}
