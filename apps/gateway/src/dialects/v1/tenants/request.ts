import type { Context } from 'hono';
import type { GatewayEnv } from '../../../gateway-env.ts';

/** The path of one tenant. */
export const TENANT_PATH = '/v1/tenants/{tenant}' as const;

/** Whether a request whose body may be missing has one. */
export function hasBody(c: Context<GatewayEnv>): boolean {
  return c.req.header('content-length') !== '0' && c.req.raw.body !== null;
}
