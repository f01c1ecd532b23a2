import { createBullBoard } from '@bull-board/api';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { assertTenantId, isOnewriterError, OnewriterError, TENANT_ID_PATTERN } from '@onewriter/protocol';
import {
  checkRedis,
  createReadiness,
  type HttpMetrics,
  type Logger,
  type Registry,
} from '@onewriter/runtime';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { routePath } from 'hono/route';
import { secureHeaders } from 'hono/secure-headers';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Redis } from 'ioredis';
import { BoardQueues } from './board-queues.ts';
import type { DashboardEnv } from './dashboard-env.ts';
import { loginPage, tenantsPage } from './pages.ts';
import { QueueFactory } from './queue-factory.ts';
import { requireSameOrigin } from './same-origin.ts';
import { assertOperator, endSession, requireOperator, safeNextPath, startSession } from './session.ts';

/** What the dashboard is made of; the entry point wires it. */
export interface DashboardOptions {
  /** A connection that fails fast; it is not closed here. */
  readonly redis: Redis;
  readonly group: string;
  readonly tokenSecret: string;
  /** Whether the process is shutting down. */
  readonly draining: () => boolean;
  /** What it counts, and who may see it; absent: there is no /metrics. */
  readonly metrics?: DashboardMetrics | undefined;
  readonly log: Logger;
}

/** What the dashboard counts. */
export interface DashboardMetrics {
  readonly registry: Pick<Registry, 'metrics' | 'contentType'>;
  readonly http: HttpMetrics;
  /** Checks the header `Authorization`. @throws OnewriterError UNAUTHENTICATED, FORBIDDEN */
  readonly assertAccess: (authorization: string | undefined) => Promise<void>;
}

/** The dashboard's routes, and what keeps its list of queues. */
export interface Dashboard {
  readonly app: Hono<DashboardEnv>;
  /** Idempotent. */
  close(): Promise<void>;
}

const BOARD_PATH = '/queues';
const MAX_FORM_BYTES = 32 * 1024;
/** All that may be changed from the board: dead letters that somebody has dealt with can be removed. */
const ALLOWED_CHANGE = /^\/queues\/api\/queues\/dead-letters\/(?:clean\/[\w-]+|[^/]+\/clean)$/;
/**
 * Bull Board keeps a person's settings in the browser and shows JSON three levels deep unless told otherwise: the
 * statements of a job would be folded away. Who has chosen otherwise keeps that.
 */
const BOARD_DEFAULTS = `
const key = 'board-settings';
try {
  if (localStorage.getItem(key) === null) {
    localStorage.setItem(key, JSON.stringify({ state: { defaultCollapseDepth: 10 }, version: 2 }));
  }
} catch {} // storage is switched off: the board has its own defaults
`;
const BOARD_DEFAULTS_PATH = '/board-defaults.js';
/** Bull Board's page loads fonts from a CDN; the content security policy would refuse that with an error. */
const REMOTE_FONTS = /<link\s+href="https:\/\/fonts\.googleapis\.com[^>]*>/;

/**
 * The dashboard.
 *
 *   GET  /livez /readyz              open
 *   GET  /login, POST /login         the login form
 *   POST /logout, GET /logout        ends the session
 *   GET  /                           → /queues
 *   GET  /queues…                    Bull Board; `?tenant=acme` goes to that tenant's queue
 *   GET  /tenants                    finds a tenant's queue
 */
export async function createDashboard(options: DashboardOptions): Promise<Dashboard> {
  const { redis, group, tokenSecret, log } = options;
  const queues = new QueueFactory(redis, group);
  const adapter = new HonoAdapter(serveStatic);
  adapter.setBasePath(BOARD_PATH);
  const board = createBullBoard({
    queues: [],
    serverAdapter: adapter,
    options: {
      uiConfig: {
        boardTitle: 'Onewriter',
        showWorkers: false, // else CLIENT LIST per queue and poll
        hideDocsLink: true,
        miscLinks: [
          { text: 'Find a tenant', url: '/tenants' },
          { text: 'Log out', url: '/logout' },
        ],
      },
    },
  });
  const boardQueues = new BoardQueues({ redis, group, queues, show: board.replaceQueues, log });
  await boardQueues.start();

  const app = new Hono<DashboardEnv>();
  if (options.metrics) {
    app.use(options.metrics.http.middleware<Context<DashboardEnv>>(c => routePath(c, -1)));
  }
  app.use(
    secureHeaders({
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
      xFrameOptions: 'DENY',
      // What ends TLS decides that for its domain.
      strictTransportSecurity: false,
      referrerPolicy: 'same-origin',
    }),
  );
  app.onError((error, c) => answerError(c, error, log));
  app.notFound(c => answerError(c, new OnewriterError('NOT_FOUND', 'There is no such page.'), log));

  app.get('/livez', c => c.json({ status: 'alive' }));
  const look = createReadiness({
    draining: () => (options.draining() ? 'The dashboard is shutting down.' : undefined),
    redis: () => checkRedis(() => redis.ping()),
  });
  app.get('/readyz', async c => {
    const report = await look();
    return c.json(report, report.status === 'ready' ? 200 : 503);
  });

  if (options.metrics) {
    const { registry, assertAccess } = options.metrics;
    app.get('/metrics', async c => {
      await assertAccess(c.req.header('authorization'));
      return c.body(await registry.metrics(), 200, { 'content-type': registry.contentType });
    });
  }

  app.get('/favicon.ico', c => c.body(null, 204));
  app.get(BOARD_DEFAULTS_PATH, c => c.body(BOARD_DEFAULTS, 200, { 'content-type': 'text/javascript' }));

  app.use(requireSameOrigin);
  app.get('/login', c => c.html(loginPage(safeNextPath(c.req.query('next')))));
  app.post('/login', bodyLimit({ maxSize: MAX_FORM_BYTES }), async c => {
    const form = await c.req.parseBody();
    const next = safeNextPath(typeof form['next'] === 'string' ? form['next'] : undefined);
    const token = typeof form['token'] === 'string' ? form['token'].trim() : '';
    try {
      await assertOperator(tokenSecret, token);
    } catch (error) {
      if (!isOnewriterError(error, 'UNAUTHENTICATED') && !isOnewriterError(error, 'FORBIDDEN')) throw error;
      log.warn({ reason: error.message }, 'Login refused');
      const problem = error.code === 'FORBIDDEN' ? error.message : 'That token is not valid.';
      return c.html(loginPage(next, problem), error.status as ContentfulStatusCode);
    }
    startSession(c, token);
    return c.redirect(next, 303);
  });
  app.on(['GET', 'POST'], '/logout', c => {
    endSession(c);
    return c.redirect('/login', 303);
  });

  app.use(requireOperator(tokenSecret));
  app.get('/', c => c.redirect(BOARD_PATH));
  app.get('/tenants', c => c.html(tenantsPage(boardQueues.recentTenants)));

  // A search, or a link to a tenant that is not on the board (any more).
  app.use(`${BOARD_PATH}/*`, async (c, next) => {
    const search = c.req.path === BOARD_PATH ? c.req.query('tenant')?.trim() : undefined;
    const tenant = search ?? tenantInPath(c.req.path) ?? tenantInQuery(c.req.query('activeQueue'));
    if (tenant !== undefined && !boardQueues.isShown(tenant)) {
      const known = TENANT_ID_PATTERN.test(tenant) && (await boardQueues.ask(tenant));
      if (!known && search !== undefined) {
        const problem = `No tenant "${search.slice(0, 63)}" has been written to.`;
        return c.html(tenantsPage(boardQueues.recentTenants, problem), 404);
      }
    }
    if (search !== undefined) return c.redirect(`${BOARD_PATH}/queue/tenant.${assertTenantId(search)}`);
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
      if (!ALLOWED_CHANGE.test(c.req.path)) {
        throw new OnewriterError('FORBIDDEN', 'The board only looks, and removes dead letters.');
      }
      log.info({ method: c.req.method, path: c.req.path }, 'Removing dead letters');
    }
    await next();
    if (c.res.headers.get('content-type')?.startsWith('text/html')) {
      const page = (await c.res.text())
        .replace(REMOTE_FONTS, '')
        .replace('<body', `<script src="${BOARD_DEFAULTS_PATH}"></script><body`);
      c.res = new Response(page, c.res);
    }
    return;
  });
  app.route(BOARD_PATH, adapter.registerPlugin());

  let closing: Promise<void> | undefined;
  return {
    app,
    close: () => {
      closing ??= boardQueues.close().then(() => queues.close());
      return closing;
    },
  };
}

/** The tenant in `/queues/queue/tenant.acme…` and `/queues/api/queues/tenant.acme…`. */
function tenantInPath(path: string): string | undefined {
  return /^\/queues\/(?:queue|api\/queues)\/tenant\.([a-z0-9-]+)/.exec(path)?.[1];
}

function tenantInQuery(activeQueue: string | undefined): string | undefined {
  return /^tenant\.([a-z0-9-]+)$/.exec(activeQueue ?? '')?.[1];
}

function answerError(c: Context<DashboardEnv>, error: unknown, log: Logger): Response {
  const known = error instanceof OnewriterError ? error : undefined;
  if (known === undefined || known.code === 'INTERNAL')
    log.error({ err: error, path: c.req.path }, 'Request failed');
  if (known?.code === 'UNAUTHENTICATED') c.header('WWW-Authenticate', 'Bearer realm="onewriter"');
  const message = known?.message ?? 'Something went wrong; the log has it.';
  return c.json(
    { error: message, code: known?.code ?? 'INTERNAL' },
    (known?.status ?? 500) as ContentfulStatusCode,
  );
}
