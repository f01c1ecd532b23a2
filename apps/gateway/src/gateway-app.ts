import { OpenAPIHono } from '@hono/zod-openapi';
import { OnewriterError, uuidv7 } from '@onewriter/protocol';
import type { Context, Hono } from 'hono';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { requestId } from 'hono/request-id';
import { routePath } from 'hono/route';
import { acceptJsonBody } from './bodies/json-body.ts';
import { addDropInRoutes } from './dialects/drop-in/drop-in-routes.ts';
import { addInfoRoute } from './dialects/drop-in/info-route.ts';
import { addHranaRoutes } from './dialects/hrana/hrana-routes.ts';
import { addSqldRoutes } from './dialects/hrana/sqld-routes.ts';
import { addV1Routes } from './dialects/v1/index.ts';
import { addDocsRoutes } from './docs/docs-routes.ts';
import type { GatewayEnv } from './gateway-env.ts';
import type { GatewayOptions } from './gateway-options.ts';
import { asOnewriterError, errorResponse } from './http/error-response.ts';
import { addMetricsRoute } from './http/gateway-metrics.ts';
import { addHealthRoutes } from './http/health-routes.ts';
import { logRequests } from './http/log-requests.ts';
import { traceRequests } from './http/trace-requests.ts';
import { allowOrigins } from './security/allow-origins.ts';
import { authenticate } from './security/authenticate.ts';
import { RequestTurns } from './security/request-turns.ts';
import { securityHeaders } from './security/security-headers.ts';
import { Shares } from './security/shares.ts';
import { UnsentAnswers } from './security/unsent-answers.ts';
import { LoopTurns } from './streams/loop-turns.ts';
import { StreamRooms } from './streams/stream-room.ts';

/** Requests with a valid token that are not answered: as many as there may be connections. */
const MAX_REQUESTS = 10_000;
/** Share of one token bound to tenants: half of the reads that may wait, so that it cannot take all of those either. */
const MAX_REQUESTS_OF_OWNER = 500;
/** Request bodies held at the same time, in bodies of the largest size. */
const MAX_HELD_BODIES = 16;
/** Share of one tenant or token. */
const MAX_HELD_BODIES_OF_OWNER = 4;
/** Bodies that are read as they arrive, at the same time. */
const MAX_STREAMED_BODIES = 32;
const JSON_OR_TEXT = /^(application\/json|text\/plain)\s*(;|$)/i;
const DOCS_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'";
const MAX_REQUEST_ID_LENGTH = 128;

/**
 * The gateway's routes, without a server: `app.request()` runs one.
 *
 * A request passes: request id → headers → (probes end here) → token → body limits → its route. Every error on the
 * way is answered as JSON by {@link errorResponse}.
 */
export function createGatewayApp(options: GatewayOptions): Hono<GatewayEnv> {
  const { maxRequests = MAX_REQUESTS } = options;
  const app = new OpenAPIHono<GatewayEnv>();
  const answer = (c: Context<GatewayEnv>, error: OnewriterError) => {
    options.metrics?.http.errors.add(error.code);
    logFailure(c, error, options);
    return errorResponse(c, error);
  };

  app.use(async (c, next) => {
    c.set('receivedAt', performance.now());
    await next();
  });
  if (options.metrics) app.use(options.metrics.http.middleware<Context<GatewayEnv>>(c => routePath(c, -1)));
  app.use(requestId({ limitLength: MAX_REQUEST_ID_LENGTH, generator: () => uuidv7() }));
  if (options.tracer !== undefined) app.use(traceRequests(options.tracer));
  if (options.log.isLevelEnabled?.('debug')) app.use(logRequests(options.log));
  // Outermost, so that it has the last word on what the page may load: its own style sheet.
  app.use('/docs', async (c, next) => {
    await next();
    c.header('Content-Security-Policy', DOCS_POLICY);
  });
  app.use(securityHeaders());
  if (options.corsOrigins.length > 0) app.use(allowOrigins(options.corsOrigins));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => {
        c.header('Allow', methods.join(', '));
        const message = `This route takes ${methods.join(', ')}.`;
        return answer(c, new OnewriterError('METHOD_NOT_ALLOWED', message));
      },
    }),
  );
  app.onError((error, c) => answer(c, asOnewriterError(error)));
  app.notFound(c => answer(c, new OnewriterError('NOT_FOUND', 'There is no such route.')));

  addHealthRoutes(app, {
    health: options.health,
    connections: () => options.reads.openFiles,
    draining: options.draining,
  });

  if (options.metrics) addMetricsRoute(app, options.metrics);

  const requests = new Shares({
    what: 'requests under way',
    total: maxRequests,
    share: Math.min(MAX_REQUESTS_OF_OWNER, Math.ceil(maxRequests / 4)),
  });
  const { verifyToken, limits, tokenless } = options;
  const answers = new UnsentAnswers();
  const requestTurns = new RequestTurns();
  const token = authenticate(verifyToken, limits, requests, answers, requestTurns);
  const dropInToken = authenticate(verifyToken, limits, requests, answers, requestTurns, tokenless?.access);
  const bodies = new Shares({
    what: 'request bodies',
    total: options.maxBodyBytes * MAX_HELD_BODIES,
    share: options.maxBodyBytes * MAX_HELD_BODIES_OF_OWNER,
  });
  const turns = new LoopTurns();
  const jsonBody = acceptJsonBody(options.maxBodyBytes, bodies, turns);
  app.post('/query', dropInToken, jsonBody);
  app.post('/transaction', dropInToken, jsonBody);
  app.get('/info/:tenantId', dropInToken);
  addDropInRoutes(app, options);
  addInfoRoute(app, options);
  addV1Routes({
    app,
    options,
    guards: {
      token,
      jsonBody,
      streams: new Shares({ what: 'streams of writes', total: MAX_STREAMED_BODIES }),
      rooms: options.rooms ?? new StreamRooms(),
      turns,
    },
  });
  // fetch() says text/plain of a string, and some clients of libSQL leave it at that.
  const libsqlBody = acceptJsonBody(options.maxBodyBytes, bodies, turns, JSON_OR_TEXT);
  addHranaRoutes(app, options, { token, jsonBody: libsqlBody });
  addSqldRoutes(app, options, { token, jsonBody: libsqlBody });
  addDocsRoutes(app);
  return app;
}

/** Internal errors are logged with their cause; mistakes of callers only at level debug. */
function logFailure(c: Context<GatewayEnv>, error: OnewriterError, { log }: GatewayOptions): void {
  const { tenant, receiptId: receipt } = error.details;
  const { method, path } = c.req;
  const facts = { requestId: c.get('requestId'), method, path, tenant, receipt, code: error.code };
  if (error.code === 'INTERNAL') log.error({ ...facts, err: error.cause ?? error }, 'Request failed');
  else if (error.status >= 500) log.warn({ ...facts, reason: error.message }, 'Request failed');
  else log.debug({ ...facts, reason: error.message }, 'Request refused');
}
