import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { Logger, TokenVerifier, VerifiedToken } from '@onewriter/runtime';
import type { Context, Hono, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { DashboardEnv } from '../dashboard-env.ts';
import { loginPage } from '../views/login.ts';

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
 * Checks a token for the dashboard: the gateway's own check, so that what opens one opens the other.
 * @throws OnewriterError UNAUTHENTICATED, FORBIDDEN, KEYS_UNAVAILABLE
 */
export async function assertOperator(verify: TokenVerifier, token: string): Promise<VerifiedToken> {
  const access = await verify(token);
  if (access.access !== 'admin' || access.tenants !== '*') {
    throw new OnewriterError(
      'FORBIDDEN',
      'The dashboard shows all tenants: it needs a token with access "admin" to all of them.',
    );
  }
  return access;
}

/**
 *   GET  /login, POST /login     the login form
 *   POST /logout, GET /logout    ends the session
 */
export function addLoginRoutes(app: Hono<DashboardEnv>, verify: TokenVerifier, log: Logger): void {
  app.get('/login', c => c.html(loginPage(safeNextPath(c.req.query('next')))));
  app.post('/login', async c => {
    const form = await c.req.parseBody();
    const next = safeNextPath(typeof form['next'] === 'string' ? form['next'] : undefined);
    const token = typeof form['token'] === 'string' ? form['token'].trim() : '';
    try {
      await assertOperator(verify, token);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      log.warn({ reason: error.message }, 'Login refused');
      const problem = error.code === 'UNAUTHENTICATED' ? 'That token is not valid.' : error.message;
      return c.html(loginPage(next, problem), error.status as ContentfulStatusCode);
    }
    startSession(c, token);
    return c.redirect(next, 303);
  });
  app.on(['GET', 'POST'], '/logout', c => {
    endSession(c);
    return c.redirect('/login', 303);
  });
}

/** Lets only operators pass; a browser without a session is sent to the login form. */
export function requireOperator(verify: TokenVerifier): MiddlewareHandler<DashboardEnv> {
  return async (c, next) => {
    const token = tokenOf(c);
    if (token === undefined) {
      if (wantsPage(c)) return c.redirect(loginPath(c), 303);
      throw new OnewriterError('UNAUTHENTICATED', 'Log in, or send a bearer token.');
    }
    try {
      const access = await assertOperator(verify, token);
      const address = c.env.incoming?.socket.remoteAddress ?? '';
      c.set('operator', { ...access, token, address });
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
    /^\/(?:queues|tenants|audit)(?:[/?][\w./?=&%~-]*)?$/.test(next) &&
    !next.includes('//')
    ? next
    : '/';
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
  return next === '/' ? '/login' : `/login?next=${encodeURIComponent(next)}`;
}

function isHttps(c: Context<DashboardEnv>): boolean {
  return new URL(c.req.url).protocol === 'https:' || c.req.header('x-forwarded-proto') === 'https';
}
