import { OnewriterError } from '@onewriter/protocol';
import { verifyToken } from '@onewriter/runtime';
import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from './gateway-env.ts';

const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i;

/**
 * Lets only requests with a valid bearer token pass, and tells the handlers what it allows.
 * @throws OnewriterError UNAUTHENTICATED
 */
export function authenticate(tokenSecret: string): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const token = BEARER.exec(c.req.header('authorization') ?? '')?.[1];
    if (token === undefined) {
      throw new OnewriterError(
        'UNAUTHENTICATED',
        'A bearer token is required: send the header "Authorization: Bearer <token>".',
      );
    }
    c.set('access', await verifyToken(tokenSecret, token));
    await next();
  };
}
