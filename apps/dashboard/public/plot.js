/*
 * A cursor on the plots: with the pointer, or with the arrow keys. What is drawn comes from the server; the figures
 * come along in data-plot.
 */

const WIDTH = 600;
const HEIGHT = 120;

export function startPlots() {
  document.addEventListener('pointermove', event => {
    const svg = event.target instanceof Element ? event.target.closest('svg[data-plot]') : null;
    for (const other of document.querySelectorAll('svg[data-plot][data-at]')) if (other !== svg) clear(other);
    if (svg === null) return;
    const box = svg.getBoundingClientRect();
    const { length } = read(svg).series[0].values;
    point(svg, Math.round(((event.clientX - box.left) / box.width) * (length - 1)));
  });
  document.addEventListener('keydown', event => {
    const svg = event.target instanceof Element ? event.target.closest('svg[data-plot]') : null;
    if (svg === null) return;
    const last = read(svg).series[0].values.length - 1;
    const at = svg.dataset.at === undefined ? last : Number(svg.dataset.at);
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (event.key === 'Escape') clear(svg);
    if (!(event.key in steps)) return;
    event.preventDefault();
    point(svg, steps[event.key]);
  });
  document.addEventListener('focusout', event => {
    if (event.target instanceof Element && event.target.matches('svg[data-plot]')) clear(event.target);
  });
  // A redrawn plot has lost its cursor.
  document.addEventListener('regions', () => {
    for (const svg of document.querySelectorAll('svg[data-plot]')) {
      const at = cursors.get(svg);
      if (at !== undefined) point(svg, at);
    }
  });
}

/** Where the cursors are: a stream of changes removes the attribute. */
const cursors = new WeakMap();

function read(svg) {
  return JSON.parse(svg.dataset.plot);
}

function point(svg, wanted) {
  const { series, everyMs, endsAt, unit } = read(svg);
  const { length } = series[0].values;
  const at = Math.max(0, Math.min(length - 1, wanted));
  cursors.set(svg, at);
  svg.dataset.at = String(at);
  let line = svg.querySelector('.plot-cursor');
  if (line === null) {
    line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    line.setAttribute('class', 'plot-cursor');
    svg.append(line);
  }
  line.setAttribute('d', `M${(at / Math.max(1, length - 1)) * WIDTH} 0V${HEIGHT}`);
  let tip = svg.parentElement.querySelector('.plot-tip');
  if (tip === null) {
    tip = document.createElement('span');
    tip.className = 'plot-tip';
    tip.setAttribute('role', 'status');
    svg.parentElement.append(tip);
  }
  const time = formatTime(endsAt - (length - 1 - at) * everyMs);
  const figures = series.map(({ name, values }) => `${name} ${format(values[at], unit)}`).join(', ');
  tip.textContent = `${time}: ${figures}`;
}

function clear(svg) {
  cursors.delete(svg);
  svg.removeAttribute('data-at');
  svg.querySelector('.plot-cursor')?.remove();
  svg.parentElement.querySelector('.plot-tip')?.remove();
}

/** `09:28:51 UTC`: as all times on the pages, whatever clock this computer has. */
function formatTime(ms) {
  return `${new Date(ms).toISOString().slice(11, 19)} UTC`;
}

/** As the server writes figures: src/views/format.ts. */
function format(value, unit) {
  if (value === null || value === undefined) return '–';
  if (unit === 'ms') return value < 1_000 ? `${value.toPrecision(3)} ms` : `${(value / 1_000).toFixed(1)} s`;
  if (unit === 'bytes') {
    const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10));
    return `${(value / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${['B', 'kB', 'MB', 'GB', 'TB'][power]}`;
  }
  return value.toLocaleString('en-US', { maximumFractionDigits: value < 10 ? 1 : 0 });
}
