import { type Html, html, NOTHING } from './html.ts';

/*
 * A small plot of the last minutes, drawn here as SVG: lines over a grid of three lines. The picture is stretched to its
 * place, so all text is beside it. The browser adds a cursor (public/plot.js), for which the figures come along.
 */

/** One line. */
export interface PlotSeries {
  readonly name: string;
  /** How it is drawn: `main` is solid and filled, `second` dashed. Lines never differ by colour alone. */
  readonly style: 'main' | 'second';
  /** null is a gap. */
  readonly values: readonly (number | null)[];
}

/** What to draw. */
export interface PlotOptions {
  readonly id: string;
  readonly title: string;
  /** The newest figure, large. */
  readonly now: string;
  /** A word about it. */
  readonly note?: string | undefined;
  readonly series: readonly PlotSeries[];
  readonly everyMs: number;
  readonly endsAt: number;
  /** How figures are written, also by the browser: see public/plot.js. */
  readonly unit: 'count' | 'ms' | 'bytes';
  readonly format: (value: number) => string;
}

const WIDTH = 600;
const HEIGHT = 120;

/** The plot with its title and figure. */
export function plot(options: PlotOptions): Html {
  const { id, title, now, note, series, unit, format, everyMs, endsAt } = options;
  const known = series.flatMap(({ values }) => values.filter(value => value !== null));
  const top = ceilingOf(known, unit);
  const largest = known.reduce((most, value) => Math.max(most, value), 0);
  const minutes = Math.round(((series[0]?.values.length ?? 0) * everyMs) / 60_000);
  const said = known.length === 0 ? 'nothing reported yet' : `now ${now}, at most ${format(largest)}`;
  return html`<figure class="plot" id="${id}" data-key="${id}">
    <figcaption>
      <span class="plot-title">${title}</span>
      <span class="plot-now">${now}</span>
      <span class="plot-note">${note ?? ''}${series.length < 2 ? NOTHING : legend(series)}</span>
    </figcaption>
    <div class="plot-area">
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" tabindex="0"
        aria-label="${title}, the last ${minutes} minutes: ${said}"
        data-plot="${JSON.stringify({ unit, everyMs, endsAt: Math.round(endsAt), series: series.map(({ name, values }) => ({ name, values: values.map(rounded) })) })}">
        <path class="grid" d="M0 .5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}" />
        ${series.map(line => draw(line, top))}
      </svg>
      <span class="y y-top">${format(top)}</span>
      <span class="y y-mid">${format(top / 2)}</span>
      <span class="x x-from">${minutes} min ago</span>
      <span class="x x-to">now</span>
      ${known.length === 0 ? html`<span class="plot-empty">Nothing reported yet</span>` : NOTHING}
    </div>
  </figure>`;
}

function legend(series: readonly PlotSeries[]): Html {
  return html`<span class="legend">${series.map(
    ({ name, style }) =>
      html`<span><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="line ${style}" d="M1 4H23" /></svg>${name}</span>`,
  )}</span>`;
}

function draw({ values, style }: PlotSeries, top: number): Html {
  const x = (index: number) => ((index / Math.max(1, values.length - 1)) * WIDTH).toFixed(1);
  const y = (value: number) => (HEIGHT - (value / top) * (HEIGHT - 2) - 1).toFixed(1);
  let line = '';
  let area = '';
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (value === null || value === undefined) continue;
    const begins = (values[index - 1] ?? null) === null;
    const ends = (values[index + 1] ?? null) === null;
    line += begins ? `M${x(index)} ${y(value)}` : `L${x(index)} ${y(value)}`;
    // A figure between two gaps is a dot: a line of no length with round ends.
    if (begins && ends) line += 'h.1';
    area += begins ? `M${x(index)} ${HEIGHT}L${x(index)} ${y(value)}` : `L${x(index)} ${y(value)}`;
    if (ends) area += `L${x(index)} ${HEIGHT}Z`;
  }
  return html`${style === 'main' ? html`<path class="area" d="${area}" />` : NOTHING}<path class="line ${style}" d="${line}" />`;
}

/** From 0 to a round figure above the largest; sizes are counted in steps of 1024. */
function ceilingOf(values: readonly number[], unit: PlotOptions['unit']): number {
  const most = values.reduce((largest, value) => Math.max(largest, value), 0);
  const step = unit === 'bytes' ? 1024 ** Math.floor(Math.log2(Math.max(1, most)) / 10) : 1;
  return niceCeiling(most / step) * step;
}

/** The next of 1, 2, 2.5, 5, 10 times a power of ten. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 5, 10].find(factor => value <= factor * power * 1.0001) ?? 10;
  return step * power;
}

function rounded(value: number | null): number | null {
  return value === null ? null : Number(value.toPrecision(4));
}

/** A share of something as a bar; the figure stands beside it. */
export function bar(share: number, tone: 'plain' | 'warning' | 'critical' = 'plain'): Html {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return html`<svg class="bar ${tone}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="6" /><rect class="value" width="${width.toFixed(1)}" height="6" /></svg>`;
}
