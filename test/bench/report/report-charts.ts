import { toDistribution } from '../load/latencies.ts';
import type { ScenarioResult } from '../run-scenario.ts';
import { CONTESTANT_LABELS, type ContestantName } from '../scenarios.ts';
import { formatNumber } from './format.ts';
import { type Chart, drawChart, type Series } from './svg-chart.ts';

/** A plot of a report. */
export interface ReportChart {
  readonly file: string;
  readonly alt: string;
  readonly svg: string;
}

const CALLER_SCENARIOS: Readonly<Record<string, number>> = {
  'insert-1': 1,
  'insert-8': 8,
  'insert-64': 64,
  'insert-256': 256,
};
const TENANT_SCENARIOS = ['insert-256', 'tenants-100x4', 'tenants-400x1', 'tenants-zipf'];

const LATENCY_SCENARIOS = ['insert-1', 'insert-64', 'tenants-100x4', 'gateway-insert'];
/** The distribution's tail beyond this share is a few operations' luck. */
const MAX_SHARE = 0.999;

/** The plots that the results allow. */
export function drawReportCharts(results: readonly ScenarioResult[]): ReportChart[] {
  const charts = [drawCallers(results), drawTenants(results), ...results.flatMap(drawLatencies)];
  return charts.filter(chart => chart !== undefined);
}

function drawCallers(results: readonly ScenarioResult[]): ReportChart | undefined {
  const wanted = results.filter(({ scenario }) => scenario.id in CALLER_SCENARIOS);
  if (wanted.length < 2) return undefined;
  const series = seriesOf(wanted, id => CALLER_SCENARIOS[id]!);
  return {
    ...{ file: 'throughput-callers.svg', alt: 'Inserts per second against callers on one tenant' },
    svg: drawChart({
      title: 'Inserts per second, one tenant',
      ...{ xLabel: 'callers', yLabel: 'inserts/s', xScale: 'log', yScale: 'log' },
      ...{ xTicks: [1, 8, 64, 256], series },
    }),
  };
}

function drawTenants(results: readonly ScenarioResult[]): ReportChart | undefined {
  const wanted = results.filter(({ scenario }) => TENANT_SCENARIOS.includes(scenario.id));
  if (wanted.length < 2) return undefined;
  const series = seriesOf(wanted, id => wanted.findIndex(({ scenario }) => scenario.id === id)).filter(
    it => !it.horizontal,
  );
  const categories = wanted.map(({ scenario: { tenants, callers, choice } }) =>
    choice === 'zipf' ? `${formatNumber(tenants)}, Zipf` : `${tenants} x ${callers / tenants}`,
  );
  return {
    ...{ file: 'throughput-tenants.svg', alt: 'Inserts per second against tenants' },
    svg: drawChart({
      ...{ title: 'Inserts per second, many tenants', xLabel: 'tenants x callers', yLabel: 'inserts/s' },
      ...{ xScale: 'categories', yScale: 'log', categories, series },
    }),
  };
}

function seriesOf(results: readonly ScenarioResult[], x: (scenario: string) => number): Series[] {
  const series = new Map<ContestantName, { x: number; y: number }[]>();
  for (const { scenario, figures } of results) {
    for (const { contestant, perSecond } of figures) {
      series.set(contestant, [...(series.get(contestant) ?? []), { x: x(scenario.id), y: perSecond }]);
    }
  }
  return [...series].map(([contestant, points]) => {
    // What runs in a loop of its own has no callers.
    const horizontal = contestant.startsWith('sqlite-');
    return { label: CONTESTANT_LABELS[contestant], points, horizontal };
  });
}

function drawLatencies({ scenario, figures }: ScenarioResult): ReportChart | undefined {
  if (!LATENCY_SCENARIOS.includes(scenario.id)) return undefined;
  const chart: Chart = {
    title: `Latency: ${scenario.title}`,
    ...{ xLabel: 'ms', yLabel: 'share of operations at or below', xScale: 'log', yScale: 'linear' },
    series: figures
      .filter(({ contestant }) => !contestant.startsWith('sqlite-'))
      .map(({ contestant, latencies }) => ({
        label: CONTESTANT_LABELS[contestant],
        points: toDistribution(latencies)
          .filter(({ share }) => share <= MAX_SHARE)
          .map(({ ms, share }) => ({ x: ms, y: share })),
      })),
  };
  if (chart.series.every(({ points }) => points.length === 0)) return undefined;
  return { file: `latency-${scenario.id}.svg`, alt: chart.title, svg: drawChart(chart) };
}
