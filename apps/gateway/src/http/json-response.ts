import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** An answer in JSON, of texts around the rows. */
export function jsonResponse(
  c: Context<GatewayEnv>,
  head: string,
  rows: readonly Uint8Array[],
  tail: string,
): Response {
  const body = Buffer.concat([Buffer.from(head), ...rows, Buffer.from(tail)]);
  return c.body(body, 200, { 'content-type': 'application/json' });
}
