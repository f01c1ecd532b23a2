import { OnewriterError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { GatewayEnv } from '../../gateway-env.ts';

/**
 * Which tenant a request is for: in the path, `/t/acme/v2/pipeline`; in the header `x-namespace`; or in the host's name,
 * `acme.db.example.com` where the domain `db.example.com` is configured. In more than one place it must be the same.
 * @throws OnewriterError NOT_FOUND, INVALID_ARGUMENT
 */
export function readTenant(c: Context<GatewayEnv>, hostDomain: string | undefined): string {
  const named = [
    c.req.param('tenant'),
    c.req.header('x-namespace'),
    tenantOfHost(c.req.header('host'), hostDomain),
  ];
  const [tenant, ...others] = named.filter(name => name !== undefined);
  if (tenant === undefined) {
    throw new OnewriterError(
      'NOT_FOUND',
      'No tenant is named. Use the URL …/t/<tenant>/ (with the slash at its end), or the header x-namespace.',
    );
  }
  if (others.every(other => other === tenant)) return tenant;
  throw new OnewriterError('INVALID_ARGUMENT', 'The request names two tenants.');
}

function tenantOfHost(host: string | undefined, domain: string | undefined): string | undefined {
  if (host === undefined || domain === undefined) return undefined;
  const name = host.toLowerCase().replace(/:\d+$/, '');
  const suffix = `.${domain.toLowerCase()}`;
  return name.endsWith(suffix) ? name.slice(0, -suffix.length) : undefined;
}
