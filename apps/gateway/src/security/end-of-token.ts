import { type TokenVerifier, watchAccess } from '@onewriter/runtime';
import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** A signal that fires when the request's token has ended, expired or revoked, while a long answer is under way. */
export function endOfToken(c: Context<GatewayEnv>, verify: TokenVerifier): AbortSignal {
  const ended = new AbortController();
  const stop = watchAccess(
    () => verify(c.get('token')),
    error => ended.abort(error),
  );
  // Missing where a request is made in a test, without a server.
  c.env?.outgoing?.once('close', stop);
  return ended.signal;
}
