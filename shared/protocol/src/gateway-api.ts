import type { WireError } from './onewriter-error.ts';
import type { WireParameters, WireValue } from './value.ts';

/*
 * What the SDK and the gateway say to each other over HTTP where the SDK cannot open a tenant's file itself. All
 * values are tagged, so they are exact both ways.
 *
 *   POST /v1/tenants/<tenant>/query          GatewayQueryRequest  → GatewayQueryResponse
 *   GET  /v1/tenants/<tenant>/receipts/<id>                       → GatewayReceiptResponse
 *
 * Both need `Authorization: Bearer <token>`. An error is a GatewayErrorResponse with the status of its code; the
 * header Retry-After says in seconds what details.retryAfterMs says in milliseconds.
 */

/** Body of a query: any one statement. A read needs a token with access `read`, anything else `write`. */
export interface GatewayQueryRequest {
  readonly sql: string;
  readonly params?: WireParameters | undefined;
  /** How values are written in the answer. */
  readonly values: 'tagged';
}

/** What a statement did. Reads have no changes, lastInsertRowid and commitSeq. */
export interface GatewayQueryResponse {
  /** With `rows`: present exactly if the statement returns rows. */
  readonly columns?: readonly string[] | undefined;
  /** Values in column order. */
  readonly rows?: readonly (readonly WireValue[])[] | undefined;
  readonly changes?: number | undefined;
  readonly lastInsertRowid?: WireValue | undefined;
  readonly commitSeq?: number | undefined;
}

/** Where a write is now; `result` is that of a write of any kind. */
export type GatewayReceiptResponse =
  | { readonly state: 'committed'; readonly commitSeq: number; readonly result: GatewayWriteResult }
  | { readonly state: 'failed'; readonly error: WireError }
  | { readonly state: 'pending' | 'unknown' };

/** Result of a committed write; of a transaction with one entry per statement. */
export interface GatewayWriteResult extends GatewayQueryResponse {
  readonly statements?: readonly GatewayQueryResponse[] | undefined;
}

/** Body of every answer under /v1 that is an error: what `fromWireError` takes, with the request's id. */
export interface GatewayErrorResponse {
  readonly error: WireError & { readonly requestId: string };
}
