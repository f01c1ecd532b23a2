import { OnewriterError } from '@onewriter/protocol';
import type { MiddlewareHandler } from 'hono';
import type { DashboardEnv } from '../dashboard-env.ts';

/**
 * Refuses requests that change something and that another site made a browser send: the cookie is SameSite=Strict,
 * but a browser sends Basic credentials automatically. Programs send neither of the headers.
 *
 * @throws OnewriterError FORBIDDEN
 */
export const requireSameOrigin: MiddlewareHandler<DashboardEnv> = async (c, next) => {
  if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
    const site = c.req.header('sec-fetch-site');
    const origin = c.req.header('origin');
    const foreign =
      site === undefined
        ? origin !== undefined && hostOf(origin) !== c.req.header('host')
        : site !== 'same-origin' && site !== 'none';
    if (foreign) throw new OnewriterError('FORBIDDEN', 'The request came from another site.');
  }
  await next();
};

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
