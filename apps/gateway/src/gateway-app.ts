import { OnewriterError, uuidv7 } from '@onewriter/protocol';
import { type Context, Hono } from 'hono';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import { authenticate } from './authenticate.ts';
import { BodyBudget } from './body-budget.ts';
import { addDropInRoutes } from './drop-in-routes.ts';
import { asOnewriterError, errorResponse } from './error-response.ts';
import type { GatewayEnv } from './gateway-env.ts';
import type { GatewayOptions } from './gateway-options.ts';
import { addHealthRoutes } from './health-routes.ts';
import { addInfoRoute } from './info-route.ts';
import { acceptJsonBody } from './json-body.ts';
import { addNativeRoutes } from './native-routes.ts';

/** Request bodies held at the same time, in bodies of the largest size. */
const MAX_HELD_BODIES = 16;
const MAX_REQUEST_ID_LENGTH = 128;

/**
 * The gateway's routes, without a server: `app.request()` runs one.
 *
 * A request passes: request id → headers → (probes end here) → token → body limits → its route. Every error on the
 * way is answered as JSON by {@link errorResponse}.
 */
export function createGatewayApp(options: GatewayOptions): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>();
  const answer = (c: Context<GatewayEnv>, error: OnewriterError) => {
    logFailure(c, error, options);
    return errorResponse(c, error);
  };

  app.use(requestId({ limitLength: MAX_REQUEST_ID_LENGTH, generator: () => uuidv7() }));
  app.use(
    secureHeaders({
      contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      xFrameOptions: 'DENY',
      // What ends TLS decides that for its domain.
      strictTransportSecurity: false,
    }),
  );
  app.use(async (c, next) => {
    await next();
    c.header('Cache-Control', 'no-store');
  });
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
    connections: () => options.onewriter.stats().openReaders,
    draining: options.draining,
  });

  const authenticated = authenticate(options.tokenSecret);
  const jsonBody = acceptJsonBody(
    options.maxBodyBytes,
    new BodyBudget(options.maxBodyBytes * MAX_HELD_BODIES),
  );
  for (const path of ['/query', '/transaction', '/v1/tenants/:tenant/query']) {
    app.post(path, authenticated, jsonBody);
  }
  for (const path of ['/info/:tenantId', '/v1/tenants/:tenant/receipts/:id']) {
    app.get(path, authenticated);
  }
  addDropInRoutes(app, options);
  addInfoRoute(app, options);
  addNativeRoutes(app, options);
  return app;
}

/** Faults of ours are logged with what caused them; what callers did wrong only when somebody debugs. */
function logFailure(c: Context<GatewayEnv>, error: OnewriterError, { log }: GatewayOptions): void {
  const facts = { requestId: c.get('requestId'), method: c.req.method, path: c.req.path, code: error.code };
  if (error.code === 'INTERNAL') log.error({ ...facts, err: error.cause ?? error }, 'Request failed');
  else if (error.status >= 500) log.warn({ ...facts, reason: error.message }, 'Request failed');
  else log.debug({ ...facts, reason: error.message }, 'Request refused');
}
