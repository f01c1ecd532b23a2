import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** Who makes a request, as the tenant's other users see them: never the token itself. */
export function whoAsks(c: Context<GatewayEnv>): string {
  const { subject, id } = c.get('access');
  return subject === undefined || subject === '' ? `token ${id}` : subject;
}
