import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/**
 * Headers of every answer: it is data, not a page, for its caller alone. What ends TLS decides about HSTS for its domain.
 * Source: OWASP, REST Security Cheat Sheet; the defaults of hono/secure-headers.
 */
const HEADERS = Object.entries({
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Origin-Agent-Cluster': '?1',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-DNS-Prefetch-Control': 'off',
  'X-Download-Options': 'noopen',
  'X-Frame-Options': 'DENY',
  'X-Permitted-Cross-Domain-Policies': 'none',
  'X-XSS-Protection': '0',
  'Cache-Control': 'no-store',
});

/**
 * Sets the headers on Node's response, where the app runs in a server: going through Response and Headers objects, as
 * hono/secure-headers does, costs a tenth of a small request. A route may set another value.
 */
export function securityHeaders(): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const outgoing = c.env?.outgoing;
    for (const [name, value] of HEADERS) {
      if (outgoing === undefined) c.header(name, value);
      else outgoing.setHeader(name, value);
    }
    await next();
  };
}
