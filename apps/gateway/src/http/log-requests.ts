import type { Logger } from '@onewriter/runtime';
import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** A line of the log per request, at level debug; its `requestId` is the one in the broker's lines about its writes. */
export function logRequests(log: Logger): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const startedAt = performance.now();
    await next();
    const { method, path } = c.req;
    const durationMs = Math.round((performance.now() - startedAt) * 1_000) / 1_000;
    const facts = { requestId: c.get('requestId'), method, path, status: c.res.status, durationMs };
    log.debug(facts, 'Request answered');
  };
}
