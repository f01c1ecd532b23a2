/*
 * A line chart as SVG, with nothing but strings: axes linear or logarithmic, a legend, colours that also differ in
 * brightness. Works on light and dark pages.
 */

/** One line. */
export interface Series {
  readonly label: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** A figure without callers or tenants: drawn through the whole width. */
  readonly horizontal?: boolean | undefined;
}

/** What to draw. */
export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly xScale: 'log' | 'categories';
  readonly yScale: 'log' | 'linear';
  /** For `categories`: names of x = 0, 1, 2, … */
  readonly categories?: readonly string[] | undefined;
  /** Values marked on a logarithmic x axis; default: powers of ten. */
  readonly xTicks?: readonly number[] | undefined;
  readonly series: readonly Series[];
}

const WIDTH = 820;
const HEIGHT = 420;
const PLOT = { left: 78, right: 560, top: 44, bottom: 362 };
const COLOURS = ['#d1495b', '#2e7ebf', '#3a9d5d', '#c98a12', '#7b5ea7', '#5f6b76', '#b5653a', '#1aa6a6'];
const INK = '#777';

/** Draws it. */
export function drawChart(chart: Chart): string {
  const points = chart.series.flatMap(series => series.points);
  const x = xPosition(chart, points.map(point => point.x).filter(Number.isFinite));
  const y = yPosition(
    chart,
    points.map(point => point.y),
  );
  const parts = [
    text(PLOT.left, 22, chart.title, 'font-size="15" font-weight="bold"'),
    text((PLOT.left + PLOT.right) / 2, HEIGHT - 12, chart.xLabel, 'text-anchor="middle"'),
    `<g transform="rotate(-90 18 ${(PLOT.top + PLOT.bottom) / 2})">${text(18, (PLOT.top + PLOT.bottom) / 2, chart.yLabel, 'text-anchor="middle"')}</g>`,
    ...y.ticks.flatMap(tick => [
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${y.at(tick)}" y2="${y.at(tick)}" stroke="${INK}" stroke-opacity="0.25"/>`,
      text(PLOT.left - 8, y.at(tick) + 4, shortNumber(tick), 'text-anchor="end"'),
    ]),
    ...x.ticks.flatMap(({ value, label }) => [
      `<line x1="${x.at(value)}" x2="${x.at(value)}" y1="${PLOT.bottom}" y2="${PLOT.bottom + 5}" stroke="${INK}"/>`,
      text(x.at(value), PLOT.bottom + 20, label, 'text-anchor="middle"'),
    ]),
    ...chart.series.flatMap((series, index) => drawSeries(series, index, x.at, y.at)),
  ];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" ` +
    `font-family="system-ui, sans-serif" font-size="12" fill="${INK}">\n${parts.join('\n')}\n</svg>\n`
  );
}

function drawSeries(
  series: Series,
  index: number,
  x: (value: number) => number,
  y: (value: number) => number,
): string[] {
  const colour = COLOURS[index % COLOURS.length]!;
  const legendY = PLOT.top + 14 + index * 22;
  const legend = [
    `<line x1="${PLOT.right + 20}" x2="${PLOT.right + 44}" y1="${legendY - 4}" y2="${legendY - 4}" stroke="${colour}" stroke-width="3"${series.horizontal ? ' stroke-dasharray="6 4"' : ''}/>`,
    text(PLOT.right + 52, legendY, series.label, ''),
  ];
  if (series.horizontal) {
    const at = y(series.points[0]!.y);
    return [
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${at}" y2="${at}" stroke="${colour}" stroke-width="2" stroke-dasharray="6 4"/>`,
      ...legend,
    ];
  }
  const coordinates = series.points.map(point => `${x(point.x)},${y(point.y)}`);
  const dots =
    series.points.length > 12 ? [] : series.points.map(point => dot(x(point.x), y(point.y), colour));
  return [
    `<polyline fill="none" stroke="${colour}" stroke-width="2.5" points="${coordinates.join(' ')}"/>`,
    ...dots,
    ...legend,
  ];
}

function dot(x: number, y: number, colour: string): string {
  return `<circle cx="${x}" cy="${y}" r="3.5" fill="${colour}"/>`;
}

function xPosition(chart: Chart, values: readonly number[]) {
  if (chart.xScale === 'categories') {
    const names = chart.categories ?? [];
    const step = (PLOT.right - PLOT.left) / names.length;
    const at = (value: number) => round(PLOT.left + step * (value + 0.5));
    return { at, ticks: names.map((label, value) => ({ value, label })) };
  }
  const marks = chart.xTicks ?? powersOfTen(Math.min(...values), Math.max(...values));
  const [low, high] = [Math.min(...marks, ...values), Math.max(...marks, ...values)];
  const span = Math.log(high / low) || 1;
  const at = (value: number) =>
    round(PLOT.left + 12 + ((PLOT.right - PLOT.left - 24) * Math.log(value / low)) / span);
  return { at, ticks: marks.map(value => ({ value, label: shortNumber(value) })) };
}

function yPosition(chart: Chart, values: readonly number[]) {
  const height = PLOT.bottom - PLOT.top;
  if (chart.yScale === 'linear') {
    const high = Math.max(...values);
    const step = niceStep(high / 5);
    const ticks = Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, index) => index * step);
    return { at: (value: number) => round(PLOT.bottom - (height * value) / (high * 1.02)), ticks };
  }
  const ticks = powersOfTen(Math.min(...values), Math.max(...values));
  const [low, high] = [ticks[0]!, ticks.at(-1)!];
  const span = Math.log(high / low) || 1;
  return { at: (value: number) => round(PLOT.bottom - (height * Math.log(value / low)) / span), ticks };
}

/** The powers of ten around the values. */
function powersOfTen(low: number, high: number): number[] {
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(high) - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  return (step / power <= 1 ? 1 : step / power <= 2 ? 2 : step / power <= 5 ? 5 : 10) * power;
}

function shortNumber(value: number): string {
  if (value >= 1_000_000) return `${trim(value / 1_000_000)}M`;
  if (value >= 1_000) return `${trim(value / 1_000)}k`;
  return trim(value);
}

function trim(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function text(x: number, y: number, content: string, attributes: string): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`;
}
