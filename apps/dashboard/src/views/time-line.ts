import type { HistoryPoint } from '@onewriter/protocol';
import { formatAgo, formatBytes, formatCount, formatTime, plural } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';

/*
 * The points of a tenant's history, a bar for each, the oldest first: how much was stored, and where commits are missing. A slider is below;
 * the browser writes what is under it (public/time-line.js), from the texts that come along.
 */

/** A point, as the browser shows it. */
interface ShownPoint {
  /** What to go back to. */
  readonly at: number;
  readonly text: string;
}

const WIDTH = 600;
const HEIGHT = 120;

/** What each kind of segment is to people. */
const KINDS: Readonly<Record<HistoryPoint['kind'], string>> = {
  pages: 'commits',
  full: 'whole file',
  base: 'branched off',
  deleted: 'deleted',
};

/** Bars and slider. @param newestFirst as the gateway lists them; at least one */
export function timeLine(newestFirst: readonly HistoryPoint[], now: number): Html {
  const points = newestFirst.toReversed();
  const most = points.reduce((largest, point) => Math.max(largest, point.bytes), 1);
  const width = WIDTH / points.length;
  const bars = points.map(({ bytes }, index) => {
    const height = Math.max(2, (Math.sqrt(bytes) / Math.sqrt(most)) * HEIGHT);
    return `M${(index * width).toFixed(2)} ${HEIGHT}v-${height.toFixed(1)}h${(width * 0.8).toFixed(2)}V${HEIGHT}Z`;
  });
  const gaps = points.flatMap((point, index) =>
    isAfterGap(points[index - 1], point) ? [`M${(index * width).toFixed(2)} 0V${HEIGHT}`] : [],
  );
  const shown = points.map((point, index): ShownPoint => {
    const text = describe(point, isAfterGap(points[index - 1], point));
    return { at: point.toSeq, text };
  });
  const [oldest, newest] = [points[0]!, points.at(-1)!];
  return html`<figure class="plot time-line">
    <figcaption><span class="plot-title">${plural(points.length, 'point')} to go back to</span>
      <span class="plot-note">Height: bytes stored.${gaps.length === 0 ? NOTHING : html` Dashed: ${plural(gaps.length, 'gap')}, whose commits are not in the replica.`}</span></figcaption>
    <div class="plot-area">
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
        <path class="bars" d="${bars.join('')}" />
        ${gaps.length === 0 ? NOTHING : html`<path class="line second" d="${gaps.join('')}" />`}
        <path class="plot-cursor" id="point-cursor" d="" />
      </svg>
      <span class="y y-top">${formatBytes(most)}</span>
      <input type="range" id="point" min="0" max="${points.length - 1}" step="1" value="${points.length - 1}"
        aria-label="Point of the history" data-points="${JSON.stringify(shown)}" hidden />
      <span class="x x-from">${formatAgo(now - oldest.toMs)}</span>
      <span class="x x-to">${formatAgo(now - newest.toMs)}</span>
    </div>
    <p id="point-text">${shown.at(-1)!.text}</p>
  </figure>`;
}

/** All points as a table, for those who read rather than slide. */
export function pointTable(points: readonly HistoryPoint[]): Html {
  return html`<details><summary>All of them as a table</summary>
    <div class="scroll" tabindex="0" aria-label="Points"><table>
      <thead><tr><th scope="col">Until (UTC)</th><th scope="col">Commits</th><th scope="col">Addressable</th><th scope="col" class="num">Stored</th><th scope="col">What</th><th scope="col">Written</th></tr></thead>
      <tbody>${points.map(
        (
          point,
          index,
        ) => html`<tr><td>${formatTime(point.toMs)}</td><td>${commitsOf(point)}</td><td>${point.each ? 'each' : 'the last'}</td>
          <td class="num">${formatBytes(point.bytes)}</td><td>${KINDS[point.kind]}${isAfterGap(points[index + 1], point) ? ', after a gap' : ''}</td><td>${writtenBy(point)}</td></tr>`,
      )}</tbody>
    </table></div></details>`;
}

/**
 * Whether the replica lacks commits between two points: they were lost, or merged into the later one, or the file is another one with
 * higher numbers. A deletion and the beginning of a branch have no commits of their own.
 */
export function isAfterGap(before: HistoryPoint | undefined, point: HistoryPoint): boolean {
  const hasCommits = before?.kind === 'pages' || before?.kind === 'full';
  return hasCommits && point.fromSeq > before.toSeq + 1;
}

function describe(point: HistoryPoint, isGap: boolean): string {
  const parts = [
    `${formatTime(point.toMs)} UTC`,
    `commit ${commitsOf(point)}${point.each || point.fromSeq === point.toSeq ? '' : ' (only the last can be gone back to)'}`,
    `${KINDS[point.kind]}, ${formatBytes(point.bytes)}`,
    writtenBy(point),
    isGap ? 'commits right before it are not in the replica' : '',
  ];
  return parts.filter(part => part !== '').join(' · ');
}

function commitsOf({ fromSeq, toSeq }: HistoryPoint): string {
  return fromSeq === toSeq ? String(toSeq) : `${fromSeq} to ${toSeq}`;
}

function writtenBy({ written }: HistoryPoint): string {
  if (written === undefined) return '';
  const named = written.by.reduce((sum, { writes }) => sum + writes, 0);
  const isAlone = written.by.length === 1 && named === written.writes;
  const who = written.by.map(({ who: name, writes }) =>
    isAlone ? name : `${name} (${formatCount(writes)})`,
  );
  if (named < written.writes) who.push(`others (${formatCount(written.writes - named)})`);
  return `${plural(written.writes, 'write')}: ${written.kinds.join(', ')} by ${who.join(', ')}`;
}
