import type { Context } from 'hono';
import type { DashboardEnv } from '../dashboard-env.ts';
import type { GatewayCall } from '../dashboard-gateway.ts';

/** How the gateway is called for the person who asks. */
export function callOf(c: Context<DashboardEnv>): GatewayCall {
  return { token: c.get('operator').token };
}

/** A field of the form that was sent; '' where it is missing. */
export async function readField(c: Context<DashboardEnv>, name: string): Promise<string> {
  return (await readFields(c, name))[name]!;
}

/** Fields of the form that was sent; each '' where it is missing. */
export async function readFields<Name extends string>(
  c: Context<DashboardEnv>,
  ...names: readonly Name[]
): Promise<Readonly<Record<Name, string>>> {
  const form = await c.req.parseBody();
  const fields = names.map(name => {
    const value = form[name];
    return [name, typeof value === 'string' ? value : ''];
  });
  return Object.fromEntries(fields);
}
