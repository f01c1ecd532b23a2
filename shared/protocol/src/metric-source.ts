/*
 * Metrics that are counted in plain numbers where the work is done, and put into Prometheus' form only when they are
 * asked for. Here because the client library counts, too, and depends on no metrics library.
 */

/** One value of a metric, in the form of prom-client's `MetricValue`. */
export interface MetricSample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  /** Where it differs from the metric's: `…_bucket`, `…_sum`, `…_count`. */
  readonly metricName?: string | undefined;
}

/** A metric that is read when it is asked for. Its name follows https://prometheus.io/docs/practices/naming/. */
export interface MetricSource {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  read(): readonly MetricSample[];
}

/** A registry of prom-client (14 or newer), of which only this is needed. */
export interface MetricRegistry {
  registerMetric(metric: never): void;
}

/**
 * Adds metrics to a registry of prom-client.
 * @throws Error where it has one of that name already
 */
export function registerMetrics(registry: MetricRegistry, sources: readonly MetricSource[]): void {
  for (const source of sources) {
    const { name, help, type } = source;
    // What the registry asks of a metric. Source: prom-client 15, lib/registry.js.
    const metric = {
      name,
      help,
      type,
      aggregator: 'sum',
      get: async () => ({ name, help, type, aggregator: 'sum', values: source.read() }),
      // They count what has happened: nothing of it can be undone.
      reset: () => {},
    };
    registry.registerMetric(metric as never);
  }
}

/** A metric with one value. */
export function singleMetric(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  read: () => number,
): MetricSource {
  return { name, help, type, read: () => [{ value: read(), labels: {} }] };
}

/** Counts by one label of few values, for example an error code. */
export class LabelledCounter implements MetricSource {
  readonly name: string;
  readonly help: string;
  readonly type = 'counter';
  readonly #label: string;
  readonly #counts = new Map<string, number>();

  /** @param known values that are shown as 0 until they occur, so that a first occurrence is an increase. */
  constructor(name: string, help: string, label: string, known: readonly string[] = []) {
    this.name = name;
    this.help = help;
    this.#label = label;
    for (const value of known) this.#counts.set(value, 0);
  }

  /** @param value must be one of few: nothing that callers choose. */
  add(value: string, count = 1): void {
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + count);
  }

  get(value: string): number {
    return this.#counts.get(value) ?? 0;
  }

  read(): readonly MetricSample[] {
    return Array.from(this.#counts, ([value, count]) => ({ value: count, labels: { [this.#label]: value } }));
  }
}
