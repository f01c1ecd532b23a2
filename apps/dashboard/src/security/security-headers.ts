import type { MiddlewareHandler } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { DashboardEnv } from '../dashboard-env.ts';

const COMMON = {
  xFrameOptions: 'DENY',
  // What ends TLS decides that for its domain.
  strictTransportSecurity: false,
  referrerPolicy: 'same-origin',
} as const;

/** Our own pages: nothing inline, nothing from elsewhere. */
const OURS = secureHeaders({
  ...COMMON,
  contentSecurityPolicy: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'"],
    connectSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
});

/** Bull Board's page has styles in attributes, fonts in data URLs and a worker. */
const BOARD = secureHeaders({
  ...COMMON,
  contentSecurityPolicy: {
    defaultSrc: ["'self'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'", "'unsafe-inline'"],
    imgSrc: ["'self'", 'data:'],
    fontSrc: ["'self'", 'data:'],
    connectSrc: ["'self'"],
    workerSrc: ["'self'", 'blob:'],
    objectSrc: ["'none'"],
    baseUri: ["'self'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
});

/** What browsers must not do with our answers. */
export const securityHeaders: MiddlewareHandler<DashboardEnv> = async (c, next) => {
  const isBoard = c.req.path === '/queues' || c.req.path.startsWith('/queues/');
  await (isBoard ? BOARD : OURS)(c, next);
  // Pages show tenants' data: no cache keeps them. What is not data says so itself.
  if (!c.res.headers.has('cache-control')) c.res.headers.set('cache-control', 'no-store');
};
