import type { Config } from './config.ts';
import type { Logger } from './logger.ts';
import type { Tracing } from './open-tracing.ts';

export type { Tracing } from './open-tracing.ts';

/** What is needed of the settings. */
export type TracingConfig = Pick<Config, 'traceUrl' | 'traceRatio'>;

/**
 * Registers a tracer provider with `@opentelemetry/api` that sends the spans of this process to `traceUrl`.
 *
 * @param service name of the process, as traces show it
 * @returns undefined where no URL is configured: then nothing of OpenTelemetry's SDK is even loaded
 */
export async function startTracing(
  service: string,
  config: TracingConfig,
  log: Logger,
): Promise<Tracing | undefined> {
  if (config.traceUrl === undefined) return undefined;
  const { openTracing, otlpProcessor } = await import('./open-tracing.ts');
  log.info(
    { traceUrl: new URL(config.traceUrl).origin, traceRatio: config.traceRatio },
    'Spans are recorded',
  );
  return openTracing({ service, ratio: config.traceRatio, processor: otlpProcessor(config.traceUrl), log });
}
