import type { Context } from 'hono';
import type { DashboardEnv } from '../dashboard-env.ts';
import type { GatewayCall } from '../dashboard-gateway.ts';

/** How the gateway is called for the person who asks. */
export function callOf(c: Context<DashboardEnv>): GatewayCall {
  return { token: c.get('operator').token };
}

/** A field of the form that was sent; '' where it is missing. */
export async function readField(c: Context<DashboardEnv>, name: string): Promise<string> {
  const value = (await c.req.parseBody())[name];
  return typeof value === 'string' ? value : '';
}
