import { isOnewriterError, isRedisOutage, OnewriterError } from '@onewriter/protocol';
import {
  checkRedis,
  createReadiness,
  type HttpMetrics,
  type Logger,
  type Registry,
  redisRefusal,
  type TokenVerifier,
} from '@onewriter/runtime';
import { LetterBox } from '@onewriter/runtime/dead-letters';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { routePath } from 'hono/route';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Redis } from 'ioredis';
import { createAssetHandler } from './assets.ts';
import { addAuditRoutes } from './audit-routes.ts';
import { addBoard } from './board/board-routes.ts';
import type { DashboardEnv } from './dashboard-env.ts';
import { DashboardGateway } from './dashboard-gateway.ts';
import { RegionStreams } from './live/region-stream.ts';
import { StatusWatch } from './live/status-watch.ts';
import { addOperationRoutes } from './operation-routes.ts';
import { addOverviewRoutes } from './overview-routes.ts';
import type { Parts } from './parts.ts';
import { AuditTrail, rememberOperator } from './security/audit-trail.ts';
import { checkOwnGroup, requireOwnGroup } from './security/group-owner.ts';
import { requireSameOrigin } from './security/same-origin.ts';
import { securityHeaders } from './security/security-headers.ts';
import { addLoginRoutes, requireOperator } from './security/session.ts';
import { SessionStore } from './security/session-store.ts';
import { addTenantRoutes } from './tenants/tenant-routes.ts';
import { TenantWatch } from './tenants/tenant-watch.ts';
import { errorPage } from './views/error-page.ts';

/** What the dashboard is made of; the entry point wires it. */
export interface DashboardOptions {
  /** A connection that fails fast; it is not closed here. */
  readonly redis: Redis;
  readonly group: string;
  /** Bytes of jobs that may wait for one tenant: dead letters are not sent beyond it. */
  readonly maxQueueBytes: number;
  readonly verifyToken: TokenVerifier;
  /** Where the gateway is; undefined: read from what `onewriter up` left in the data directory. */
  readonly gatewayUrl: string | undefined;
  readonly dataDir: string;
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

/** The dashboard's routes, and what keeps them up to date. */
export interface Dashboard {
  readonly app: Hono<DashboardEnv>;
  /** Ends the streams of pages that are open, so that a drain need not wait for them. Idempotent. */
  endStreams(): void;
  /** Idempotent. */
  close(): Promise<void>;
}

const MAX_FORM_BYTES = 256 * 1024;

/**
 * The dashboard: the path of a request from top to bottom.
 *
 *   GET  /livez /readyz              open; /metrics for its own token
 *   GET  /assets/:file               open: styles and scripts, no data
 *   GET  /login, POST /login         the login form; POST /logout ends the session
 *   ── from here on for operators, and changes from the same site only ──
 *   GET  /                           the overview; GET /live its changes, as server-sent events
 *   GET  /tenants?q=                 finds tenants
 *   GET  /tenants/:tenant            one tenant; …/live its changes; POST …/sql, …/pause, …/resume, …/check
 *   GET  …/:tenant/history           its time line; POST …/sql, …/restore
 *   GET  /operations, …/:id          long work; …/live its changes; POST …/backup, …/:id/cancel
 *   GET  /queues…                    Bull Board; `?tenant=acme` goes to that tenant's queue
 *   GET  /audit                      who did what
 */
export async function createDashboard(options: DashboardOptions): Promise<Dashboard> {
  const { redis, group, verifyToken, log } = options;
  const app = new Hono<DashboardEnv>();
  const watch = new StatusWatch(redis, group, log);
  const streams = new RegionStreams();
  const gateway = new DashboardGateway(options.gatewayUrl, options.dataDir);
  const letters = LetterBox.over(redis, group, options.maxQueueBytes);
  const audit = new AuditTrail(redis, group, log);
  const tenants = new TenantWatch({ redis, group, gateway, letters, watch });
  const parts: Parts = { app, redis, group, log, watch, streams, gateway, letters, tenants, audit };

  if (options.metrics) {
    app.use(options.metrics.http.middleware<Context<DashboardEnv>>(c => routePath(c, -1)));
  }
  app.use(securityHeaders);
  app.onError((error, c) => answerError(c, error, log));
  app.notFound(c => answerError(c, new OnewriterError('NOT_FOUND', 'There is no such page.'), log));

  app.get('/livez', c => c.json({ status: 'alive' }));
  const look = createReadiness({
    draining: () => (options.draining() ? 'The dashboard is shutting down.' : undefined),
    // A Redis whose group is another installation's is the wrong one.
    redis: async () =>
      (await checkRedis(
        () => redis.ping(),
        () => redisRefusal(redis),
      )) ?? checkOwnGroup(options),
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

  app.get('/favicon.ico', c => c.redirect('/assets/icon.svg'));
  app.get('/assets/:file', await createAssetHandler());

  app.use(requireSameOrigin);
  app.use(
    bodyLimit({
      maxSize: MAX_FORM_BYTES,
      onError: c => {
        const message = `A form has at most ${MAX_FORM_BYTES} bytes here: use onewriter sql.`;
        return answerError(c as Context<DashboardEnv>, new OnewriterError('PAYLOAD_TOO_LARGE', message), log);
      },
    }),
  );
  const sessions = new SessionStore(redis, group);
  addLoginRoutes(app, verifyToken, sessions, log);
  app.use(requireOperator(verifyToken, sessions));
  app.use(requireOwnGroup(options));
  app.use(rememberOperator);
  addOverviewRoutes(parts);
  addTenantRoutes(parts);
  addOperationRoutes(parts);
  addAuditRoutes(parts);
  const board = await addBoard(parts);
  await watch.start();

  let closing: Promise<void> | undefined;
  return {
    app,
    endStreams: () => streams.close(),
    close: () => {
      closing ??= (async () => {
        streams.close();
        await watch.close();
        await board.close();
        await letters.close();
      })();
      return closing;
    },
  };
}

function answerError(c: Context<DashboardEnv>, error: unknown, log: Logger): Response | Promise<Response> {
  const known = isOnewriterError(error) ? error : outageError(c, error);
  if (known === undefined || known.code === 'INTERNAL') {
    log.error({ err: error, path: c.req.path }, 'Request failed');
  }
  if (known?.code === 'UNAUTHENTICATED') c.header('WWW-Authenticate', 'Bearer realm="onewriter"');
  const answer = known ?? new OnewriterError('INTERNAL', 'Something went wrong; the log has it.');
  const status = answer.status as ContentfulStatusCode;
  const wantsPage = (c.req.header('accept') ?? '').includes('text/html');
  return wantsPage
    ? c.html(errorPage(answer), status)
    : c.json({ error: answer.message, code: answer.code }, status);
}

/** What a request that needs Redis hears while Redis is away; undefined for any other error. */
function outageError(c: Context<DashboardEnv>, error: unknown): OnewriterError | undefined {
  if (!isRedisOutage(error)) return undefined;
  const reason = `Redis does not answer: ${error.message}`;
  if (c.req.method === 'GET') return new OnewriterError('QUEUE_UNAVAILABLE', reason, {}, error);
  // A command that was sent and not answered may have been done.
  const message = `${reason}. Look whether it was done before you do it again.`;
  return new OnewriterError('OUTCOME_UNKNOWN', message, {}, error);
}
