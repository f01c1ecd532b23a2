import type { HttpMetrics, Registry } from '@onewriter/runtime';
import type { Hono } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** What the gateway counts, and who may see it. */
export interface GatewayMetrics {
  readonly registry: Pick<Registry, 'metrics' | 'contentType'>;
  readonly http: HttpMetrics;
  /** Checks the header `Authorization`. @throws OnewriterError UNAUTHENTICATED, FORBIDDEN */
  readonly assertAccess: (authorization: string | undefined) => Promise<void>;
}

/** `GET /metrics`: Prometheus' text format; needs a token, see {@link GatewayMetrics.assertAccess}. */
export function addMetricsRoute(app: Hono<GatewayEnv>, { registry, assertAccess }: GatewayMetrics): void {
  app.get('/metrics', async c => {
    await assertAccess(c.req.header('authorization'));
    return c.body(await registry.metrics(), 200, { 'content-type': registry.contentType });
  });
}
