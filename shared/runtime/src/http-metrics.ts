import { DurationHistogram, LabelledCounter, type MetricSource, singleMetric } from '@onewriter/protocol';

/** What one route has answered with one method. */
interface RouteCounts {
  readonly method: string;
  readonly route: string;
  readonly times: DurationHistogram;
  /** Answers by status. */
  readonly statuses: Map<number, number>;
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
/** A program has fewer routes; more would mean that callers choose their names. */
const MAX_ROUTES = 300;
const OTHER = 'other';

/** What is needed of Hono's context; this package does without Hono. */
interface RequestContext {
  readonly req: { readonly method: string };
  readonly res: { readonly status: number };
}

/** Counts the requests of an HTTP server, by route (its pattern, never its path), method and status. */
export class HttpMetrics {
  /** Errors that were answered, by code. */
  readonly errors = new LabelledCounter(
    'onewriter_http_errors_total',
    'Errors that were answered, by code.',
    'code',
  );
  readonly #routes = new Map<string, RouteCounts>();
  #inFlight = 0;

  /**
   * A middleware for Hono that counts every request; it must be the outermost.
   * @param routeOf the pattern of the last route that matched: `routePath(c, -1)` of hono/route.
   */
  middleware<Context extends RequestContext>(routeOf: (c: Context) => string) {
    return async (c: Context, next: () => Promise<void>): Promise<void> => {
      const startedAt = performance.now();
      this.#inFlight++;
      try {
        // What handlers throw was answered when this resolves.
        await next();
      } finally {
        this.#inFlight--;
      }
      const { status } = c.res;
      const pattern = routeOf(c);
      // Where no route answered, the last match is a middleware's pattern.
      const route = status === 404 && pattern.endsWith('*') ? 'none' : pattern;
      this.#add(c.req.method, route, status, performance.now() - startedAt);
    };
  }

  #add(method: string, route: string, status: number, ms: number): void {
    const counts = this.#counts(METHODS.has(method) ? method : OTHER, route);
    counts.times.observe(ms);
    counts.statuses.set(status, (counts.statuses.get(status) ?? 0) + 1);
  }

  /** For a registry. @param bytes read from and written to sockets. */
  sources(bytes: () => { readonly read: number; readonly written: number }): MetricSource[] {
    const seconds = 'onewriter_http_request_seconds';
    return [
      {
        name: 'onewriter_http_requests_total',
        help: 'Requests answered.',
        type: 'counter',
        read: () =>
          [...this.#routes.values()].flatMap(({ method, route, statuses }) =>
            Array.from(statuses, ([status, value]) => ({ labels: { method, route, status }, value })),
          ),
      },
      {
        name: seconds,
        help: 'From the arrival of a request to its answer; of a stream, to its first byte.',
        type: 'histogram',
        read: () =>
          [...this.#routes.values()].flatMap(({ method, route, times }) =>
            times.samples(seconds, { method, route }),
          ),
      },
      this.errors,
      singleMetric(
        'gauge',
        'onewriter_http_requests_in_flight',
        'Requests not answered yet.',
        () => this.#inFlight,
      ),
      singleMetric(
        'counter',
        'onewriter_http_received_bytes_total',
        'Bytes read from sockets.',
        () => bytes().read,
      ),
      singleMetric(
        'counter',
        'onewriter_http_sent_bytes_total',
        'Bytes written to sockets.',
        () => bytes().written,
      ),
    ];
  }

  #counts(method: string, route: string): RouteCounts {
    const key = `${method} ${route}`;
    let counts = this.#routes.get(key);
    if (counts === undefined) {
      if (this.#routes.size >= MAX_ROUTES && route !== OTHER) return this.#counts(OTHER, OTHER);
      counts = { method, route, times: new DurationHistogram(), statuses: new Map() };
      this.#routes.set(key, counts);
    }
    return counts;
  }
}
