import { context, DiagLogLevel, diag, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from './logger.ts';

/** Spans that are being recorded. */
export interface Tracing {
  /** Sends what was recorded, for `timeoutMs` at most, and records nothing more. Idempotent. */
  close(timeoutMs: number): Promise<void>;
}

/** Settings of {@link openTracing}. */
export interface OpenTracingOptions {
  readonly service: string;
  /** Share of the traces that begin here; one that came with a request is recorded where its caller records it. */
  readonly ratio: number;
  readonly processor: SpanProcessor;
  readonly log: Logger;
}

const EXPORT_EVERY_MS = 1_000;
const EXPORT_TIMEOUT_MS = 5_000;
/** Spans held for sending; more are dropped, which OpenTelemetry says in the log. */
const MAX_HELD_SPANS = 8_192;
/** An unreachable collector is logged once in this time. */
const COMPLAIN_EVERY_MS = 60_000;

/** Sends spans by OTLP over HTTP. Headers can be given in `OTEL_EXPORTER_OTLP_HEADERS`, as everywhere. */
export function otlpProcessor(url: string): SpanProcessor {
  return new BatchSpanProcessor({
    exporter: new OTLPTraceExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS }),
    scheduledDelayMillis: EXPORT_EVERY_MS,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS,
    maxQueueSize: MAX_HELD_SPANS,
  });
}

/** Registers a provider, and a context manager that follows promises. Once per process. */
export function openTracing({ service, ratio, processor, log }: OpenTracingOptions): Tracing {
  reportTrouble(log);
  const provider = new TracerProvider({
    resource: defaultResource().merge(resourceFromAttributes({ 'service.name': service })),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: [processor],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(provider);
  let closing: Promise<void> | undefined;
  return {
    close(timeoutMs) {
      closing ??= closeProvider(provider, timeoutMs, log);
      return closing;
    },
  };
}

async function closeProvider(provider: TracerProvider, timeoutMs: number, log: Logger): Promise<void> {
  trace.disable();
  context.disable();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>(resolve => {
    timer = setTimeout(resolve, timeoutMs);
  });
  try {
    await Promise.race([provider.shutdown(), late]);
  } catch (error) {
    log.warn({ err: error }, 'The last spans could not be sent');
  } finally {
    clearTimeout(timer);
    diag.disable();
  }
}

/** OpenTelemetry says what went wrong only to a logger of its own. */
function reportTrouble(log: Logger): void {
  let last = Number.NEGATIVE_INFINITY;
  const complain = (message: string, ...details: unknown[]) => {
    if (performance.now() - last < COMPLAIN_EVERY_MS) return;
    last = performance.now();
    log.warn({ reason: [message, ...details].map(String).join(' ').slice(0, 500) }, 'Spans are lost');
  };
  const silent = () => {};
  diag.setLogger(
    { error: complain, warn: complain, info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}
