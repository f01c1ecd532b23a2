import type { Hono } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';
import type { HealthCheck } from './health.ts';

/** What {@link addHealthRoutes} needs. */
export interface HealthRouteOptions {
  readonly health: HealthCheck;
  /** Tenant files that are open now. */
  readonly connections: () => number;
  /** Whether the process is shutting down. */
  readonly draining: () => boolean;
}

/**
 * Routes for probes. They need no token: a probe has none, and the answers name no tenant. `/health` is among
 * them because it is what the probes of existing proxies ask.
 *
 *   GET /livez    200 as long as the process answers
 *   GET /readyz   {status, reasons, checks}: 200 ready, 503 not ready; each check is 'ok' or what is wrong
 *   GET /health   {status: 'healthy' | 'unhealthy', connections, timestamp}: 200, 503; `reasons` when unhealthy
 */
export function addHealthRoutes(app: Hono<GatewayEnv>, options: HealthRouteOptions): void {
  app.get('/livez', c => c.json({ status: 'alive' }));

  app.get('/readyz', async c => {
    const { healthy, reasons, checks } = await options.health();
    const draining = options.draining() ? 'The gateway is shutting down.' : 'ok';
    const all = draining === 'ok' ? reasons : [draining, ...reasons];
    const body = { reasons: all, checks: { draining, ...checks } };
    return all.length === 0 && healthy
      ? c.json({ status: 'ready', ...body })
      : c.json({ status: 'not ready', ...body }, 503);
  });

  app.get('/health', async c => {
    const { healthy, reasons } = await options.health();
    const timestamp = new Date().toISOString();
    const connections = options.connections();
    return healthy
      ? c.json({ status: 'healthy', connections, timestamp })
      : c.json({ status: 'unhealthy', connections, timestamp, reasons }, 503);
  });
}
