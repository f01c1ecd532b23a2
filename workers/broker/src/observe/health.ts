import type { RequestListener } from 'node:http';
import { createReadiness, type Logger, type ReadinessCheck } from '@onewriter/runtime';
import type { Registry } from 'prom-client';

/** The states of a broker. */
export type BrokerState = 'starting' | 'standby' | 'leading' | 'draining';

/** The state that the probes read. */
export interface HealthSource {
  readonly state: BrokerState;
  /** The checks of `GET /readyz`, by name. */
  readonly checks: Readonly<Record<string, ReadinessCheck>>;
  readonly facts: Readonly<Record<string, unknown>> | undefined;
  readonly registry: Registry;
}

/**
 * `GET /livez`: the event loop turns. `GET /readyz`: 200 where this broker leads or stands by, with the state and the reasons.
 * `GET /metrics`: Prometheus' text format.
 */
export function createHealthListener(source: HealthSource, log: Logger): RequestListener {
  const look = createReadiness(source.checks);
  return async (request, response) => {
    const path = new URL(request.url ?? '/', 'http://broker').pathname;
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    try {
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        answer(405, { error: 'Only GET.', code: 'METHOD_NOT_ALLOWED' });
      } else if (path === '/livez') {
        answer(200, { status: 'ok' });
      } else if (path === '/readyz') {
        const { status, reasons, checks } = await look();
        const { state, facts } = source;
        const ready = status === 'ready';
        answer(ready ? 200 : 503, { status, ready, state, reasons, checks, ...facts });
      } else if (path === '/metrics') {
        const body = await source.registry.metrics();
        response.writeHead(200, { 'content-type': source.registry.contentType }).end(body);
      } else {
        answer(404, { error: 'There is no such route.', code: 'NOT_FOUND' });
      }
    } catch (error) {
      log.error({ err: error, path }, 'A probe failed');
      if (!response.headersSent) answer(500, { error: 'Internal error.', code: 'INTERNAL' });
    }
  };
}
