import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { Logger, TokenVerifier, VerifiedToken } from '@onewriter/runtime';
import type { Context, Hono, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { DashboardEnv } from '../dashboard-env.ts';
import { loginPage } from '../views/login.ts';
import { SESSION_SECONDS, type SessionStore } from './session-store.ts';

/*
 * Who may look. A token with the right `admin:fleet` to all tenants, given as
 *
 *   Authorization: Bearer <token>            scripts
 *   Authorization: Basic <anyone>:<token>    scripts, and browsers that prompt for it
 *   the session cookie                       browsers, after the login form; see session-store.ts
 *
 * The cookie is HttpOnly and SameSite=Strict, and Secure where the page came over HTTPS.
 */

const COOKIE = 'onewriter_session';

/**
 * Checks a token for the dashboard: the gateway's own check, so that what opens one opens the other.
 * @throws OnewriterError UNAUTHENTICATED, FORBIDDEN, KEYS_UNAVAILABLE
 */
async function assertOperator(verify: TokenVerifier, token: string): Promise<VerifiedToken> {
  const access = await verify(token);
  if (!access.rights.includes('admin:fleet') || access.tenants !== '*') {
    throw new OnewriterError(
      'FORBIDDEN',
      'The dashboard shows all tenants: it needs a token with the right "admin:fleet" to all of them.',
    );
  }
  return access;
}

/**
 *   GET  /login, POST /login     the login form
 *   POST /logout, GET /logout    ends the session
 */
export function addLoginRoutes(
  app: Hono<DashboardEnv>,
  verify: TokenVerifier,
  sessions: SessionStore,
  log: Logger,
): void {
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
    // A session from before ends here: its id must not live on beside the new one.
    await endSession(c, sessions);
    setCookie(c, COOKIE, await sessions.start(token), { ...cookieOptions(c), maxAge: SESSION_SECONDS });
    return c.redirect(next, 303);
  });
  app.on(['GET', 'POST'], '/logout', async c => {
    await endSession(c, sessions);
    deleteCookie(c, COOKIE, cookieOptions(c));
    return c.redirect('/login', 303);
  });
}

/** Lets only operators pass; a browser without a session is sent to the login form. */
export function requireOperator(
  verify: TokenVerifier,
  sessions: SessionStore,
): MiddlewareHandler<DashboardEnv> {
  return async (c, next) => {
    const given = c.req.header('authorization');
    const session = given === undefined ? getCookie(c, COOKIE) : undefined;
    try {
      const token = session === undefined ? tokenOf(given) : await sessions.tokenOf(session);
      const access = await assertOperator(verify, token);
      const address = c.env.incoming?.socket.remoteAddress ?? '';
      const check = async () => {
        // First what needs no Redis: its end is seen also while that is away.
        await verify(token);
        if (session !== undefined) await sessions.assertAlive(session);
      };
      c.set('operator', { ...access, token, address, check });
    } catch (error) {
      // A session that has ended starts again at the form.
      if (given === undefined && wantsPage(c) && isUnauthenticated(error))
        return c.redirect(loginPath(c), 303);
      throw error;
    }
    await next();
    return;
  };
}

async function endSession(c: Context<DashboardEnv>, sessions: SessionStore): Promise<void> {
  const session = getCookie(c, COOKIE);
  if (session !== undefined) await sessions.end(session);
}

function cookieOptions(c: Context<DashboardEnv>) {
  return { path: '/', httpOnly: true, sameSite: 'Strict', secure: isHttps(c) } as const;
}

function isUnauthenticated(error: unknown): boolean {
  return isOnewriterError(error) && (error.code === 'UNAUTHENTICATED' || error.code === 'FORBIDDEN');
}

/** A path of the dashboard to go to after the login; anything else becomes the start page. */
function safeNextPath(next: string | undefined): string {
  return next !== undefined &&
    /^\/(?:queues|tenants|operations|audit)(?:[/?][\w./?=&%~-]*)?$/.test(next) &&
    !next.includes('//')
    ? next
    : '/';
}

/** @throws OnewriterError UNAUTHENTICATED */
function tokenOf(authorization: string | undefined): string {
  const [, scheme, credentials] = /^(Bearer|Basic) +(\S+) *$/i.exec(authorization ?? '') ?? [];
  if (scheme?.toLowerCase() === 'bearer') return credentials!;
  const decoded = Buffer.from(credentials ?? '', 'base64').toString('utf8');
  if (decoded.includes(':')) return decoded.slice(decoded.indexOf(':') + 1);
  throw new OnewriterError('UNAUTHENTICATED', 'Log in, or send a bearer token.');
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
