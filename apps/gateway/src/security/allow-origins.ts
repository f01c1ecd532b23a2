import type { MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import type { GatewayEnv } from '../gateway-env.ts';

/** How long a browser remembers what it was allowed, in seconds. */
const MAX_AGE_SECONDS = 600;

/**
 * Lets pages of these origins call the gateway from a browser. Without it no page can: browsers ask first, and get no.
 * @param origins `https://app.example`, or `*` alone
 */
export function allowOrigins(origins: readonly string[]): MiddlewareHandler<GatewayEnv> {
  return cors({
    origin: origins.includes('*') ? '*' : [...origins],
    allowMethods: ['GET', 'PUT', 'POST', 'DELETE'],
    allowHeaders: [
      'Authorization',
      'Content-Type',
      'Idempotency-Key',
      'If-Commit-Seq-At-Least',
      'Last-Event-ID',
      'X-Request-Id',
    ],
    exposeHeaders: ['Commit-Seq', 'Location', 'Retry-After', 'X-Request-Id'],
    maxAge: MAX_AGE_SECONDS,
  });
}
