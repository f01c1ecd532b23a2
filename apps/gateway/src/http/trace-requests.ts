import { parseTraceparent } from '@onewriter/protocol';
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api';
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { GatewayEnv } from '../gateway-env.ts';

/**
 * Makes a span of each request, in the trace that its `traceparent` header names or in a new one. What the request does
 * is a child of it: the SDK's writes look for the active span.
 */
export function traceRequests(tracer: Tracer): MiddlewareHandler<GatewayEnv> {
  return (c, next) => {
    const { method, path } = c.req;
    const parent = parseTraceparent(c.req.header('traceparent'));
    const span = tracer.startSpan(
      method,
      {
        kind: SpanKind.SERVER,
        attributes: {
          'http.request.method': method,
          'url.path': path,
          'onewriter.request_id': c.get('requestId'),
        },
      },
      parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }),
    );
    if (!span.isRecording()) return context.with(trace.setSpan(ROOT_CONTEXT, span), next);
    return context.with(trace.setSpan(ROOT_CONTEXT, span), async () => {
      try {
        await next();
      } finally {
        const { status } = c.res;
        const route = matchedRoutes(c).findLast(({ path }) => !path.endsWith('*'))?.path;
        if (route !== undefined) span.updateName(`${method} ${route}`).setAttribute('http.route', route);
        span.setAttribute('http.response.status_code', status);
        if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      }
    });
  };
}
