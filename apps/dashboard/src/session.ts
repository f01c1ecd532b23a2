import { OnewriterError } from '@onewriter/protocol';
import { verifyToken } from '@onewriter/runtime';
import type { Context, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import type { DashboardEnv } from './dashboard-env.ts';

/*
 * Who may look. A token with access `admin` to all tenants, given as
 *
 *   Authorization: Bearer <token>            scripts
 *   Authorization: Basic <anyone>:<token>    scripts, and browsers that are asked for it by hand
 *   the session cookie                       browsers, after the login form
 *
 * The cookie holds the token itself: it ends when the token does, and a new secret ends all sessions. It is HttpOnly
 * and SameSite=Strict, and Secure where the page came over HTTPS.
 */

const COOKIE = 'onewriter_session';
const SESSION_SECONDS = 12 * 60 * 60;

/**
 * Checks a token for the dashboard.
 * @throws OnewriterError UNAUTHENTICATED, FORBIDDEN
 */
export async function assertOperator(tokenSecret: string, token: string): Promise<void> {
  const access = await verifyToken(tokenSecret, token);
  if (access.access !== 'admin' || access.tenants !== '*') {
    throw new OnewriterError(
      'FORBIDDEN',
      'The dashboard shows all tenants: it needs a token with access "admin" to all of them.',
    );
  }
}

/** Lets only operators pass; a browser without a session is sent to the login form. */
export function requireOperator(tokenSecret: string): MiddlewareHandler<DashboardEnv> {
  return async (c, next) => {
    const token = tokenOf(c);
    if (token === undefined) {
      if (wantsPage(c)) return c.redirect(loginPath(c), 303);
      throw new OnewriterError('UNAUTHENTICATED', 'Log in, or send a bearer token.');
    }
    try {
      await assertOperator(tokenSecret, token);
    } catch (error) {
      // A session that has ended starts again at the form.
      if (wantsPage(c) && getCookie(c, COOKIE) === token) return c.redirect(loginPath(c), 303);
      throw error;
    }
    await next();
    return;
  };
}

/** Starts a session. The token must have been checked. */
export function startSession(c: Context<DashboardEnv>, token: string): void {
  setCookie(c, COOKIE, token, {
    path: '/',
    httpOnly: true,
    sameSite: 'Strict',
    secure: isHttps(c),
    maxAge: SESSION_SECONDS,
  });
}

/** Ends the session. */
export function endSession(c: Context<DashboardEnv>): void {
  deleteCookie(c, COOKIE, { path: '/', httpOnly: true, sameSite: 'Strict', secure: isHttps(c) });
}

/** A path of ours to go to after the login; anything else becomes the start page. */
export function safeNextPath(next: string | undefined): string {
  return next !== undefined &&
    /^\/(?:queues|tenants)(?:[/?][\w./?=&%~-]*)?$/.test(next) &&
    !next.includes('//')
    ? next
    : '/queues';
}

function tokenOf(c: Context<DashboardEnv>): string | undefined {
  const authorization = c.req.header('authorization');
  if (authorization === undefined) return getCookie(c, COOKIE);
  const [, scheme, credentials] = /^(Bearer|Basic) +(\S+) *$/i.exec(authorization) ?? [];
  if (scheme === undefined || credentials === undefined) return undefined;
  if (scheme.toLowerCase() === 'bearer') return credentials;
  const decoded = Buffer.from(credentials, 'base64').toString('utf8');
  return decoded.includes(':') ? decoded.slice(decoded.indexOf(':') + 1) : undefined;
}

function wantsPage(c: Context<DashboardEnv>): boolean {
  return c.req.method === 'GET' && (c.req.header('accept') ?? '').includes('text/html');
}

function loginPath(c: Context<DashboardEnv>): string {
  const url = new URL(c.req.url);
  const next = safeNextPath(url.pathname + url.search);
  return next === '/queues' ? '/login' : `/login?next=${encodeURIComponent(next)}`;
}

function isHttps(c: Context<DashboardEnv>): boolean {
  return new URL(c.req.url).protocol === 'https:' || c.req.header('x-forwarded-proto') === 'https';
}
