import { OnewriterError } from '@onewriter/protocol';
import type { TokenVerifier } from '@onewriter/runtime';
import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';
import type { RateLimits } from './rate-limits.ts';

const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i;

/**
 * Lets only requests with a valid bearer token pass, as many as the token's limit allows, and tells the handlers what
 * it allows.
 * @throws OnewriterError UNAUTHENTICATED, RATE_LIMITED, KEYS_UNAVAILABLE
 */
export function authenticate(verify: TokenVerifier, limits: RateLimits): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const token = BEARER.exec(c.req.header('authorization') ?? '')?.[1];
    if (token === undefined) {
      throw new OnewriterError(
        'UNAUTHENTICATED',
        'A bearer token is required: send the header "Authorization: Bearer <token>".',
      );
    }
    const access = await verify(token);
    await limits.countToken(access.id);
    c.set('access', access);
    c.set('token', token);
    await next();
  };
}
