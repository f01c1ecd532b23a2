import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../machine.ts';
import { sourceFile } from '../paths.ts';
import { formatNumber, formatRatio } from '../report/format.ts';
import { drawChart } from '../report/svg-chart.ts';
import { formatMarkdownTable, formatTable } from '../report/text-table.ts';
import { growthOf, MAX_GROWTH, type ScaleCurve, type ScaleLimits, type ScaleResult } from './scale-part.ts';
import { sizingRows } from './sizing-table.ts';

/** Everything a run of `--scale` found. */
export interface ScaleReport {
  readonly machine: Machine;
  readonly limits: ScaleLimits;
  readonly quick: boolean;
  readonly partial: boolean;
  readonly finishedAt: string;
  readonly seconds: number;
  readonly parts: readonly {
    readonly id: string;
    readonly title: string;
    /** Share of the machine's CPU (0 to 1) that others used just before. */
    readonly othersBefore: number;
    readonly seconds: number;
    readonly result: ScaleResult;
  }[];
}

/** Where the results of a run are. */
export function scaleFolder({ quick, partial }: Pick<ScaleReport, 'quick' | 'partial'>): string {
  return sourceFile(`results/${quick ? 'quick/scale' : partial ? 'partial/scale' : 'scale'}`);
}

/** Prints what was found, and writes `results.json`, `report.md` and the plots. */
export async function writeScaleReport(report: ScaleReport, json: boolean): Promise<void> {
  const folder = scaleFolder(report);
  const curves = report.parts.flatMap(({ result }) => result.curves);
  await mkdir(folder, { recursive: true });
  for (const curve of curves) await writeFile(join(folder, `${curve.id}.svg`), drawCurve(curve));
  await writeFile(join(folder, 'results.json'), `${JSON.stringify(report, undefined, 2)}\n`);
  await writeFile(join(folder, 'report.md'), toMarkdown(report, curves));
  if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    const tables = [curveRows(curves), targetRows(report.parts), sizingRows(report)]
      .filter(rows => rows.length > 1)
      .map(rows => formatTable(rows));
    process.stdout.write(`\n${tables.join('\n\n')}\n\n${report.seconds} s. Written: ${folder}/report.md\n`);
  }
}

/** There is no run whose results could be shown. Its message is for people. */
export class NoResults extends Error {}

/** Prints the table of sizes as Markdown, from the last run. @throws NoResults */
export async function printSizingTable(kind: Pick<ScaleReport, 'quick' | 'partial'>): Promise<void> {
  const report = await readLastReport(scaleFolder(kind), kind);
  process.stdout.write(`${formatMarkdownTable(sizingRows(report))}\n`);
}

/** @throws NoResults */
export async function readLastReport(
  folder: string,
  { quick }: Pick<ScaleReport, 'quick'>,
): Promise<ScaleReport> {
  const path = join(folder, 'results.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const command = `npm run bench -- --scale${quick ? ' --quick' : ''}`;
    throw new NoResults(
      `There are no results in ${path}: run \`${command}\` first, with the same --only and bounds.`,
    );
  }
  return JSON.parse(text) as ScaleReport;
}

/** A row for each line of each plot. */
export function curveRows(curves: readonly ScaleCurve[]): string[][] {
  return [
    ['plot', 'line', 'points', 'grows', ''],
    ...curves.flatMap(({ title, yLabel, lines }) =>
      lines.map((line, index) => [
        index === 0 ? `${title} (${yLabel})` : '',
        line.label,
        line.points.map(({ x, y }) => `${formatNumber(x)}: ${formatNumber(y)}`).join(', '),
        formatRatio(growthOf(line)),
        judge(line),
      ]),
    ),
  ];
}

/** A row for each target of the parts that ran. */
export function targetRows(parts: ScaleReport['parts']): string[][] {
  return [
    ['target', 'asked', 'measured', ''],
    ...parts.flatMap(({ result: { targets = [] } }) =>
      targets.map(({ what, asked, measured, passed }) => [what, asked, measured, passed ? 'pass' : 'NO']),
    ),
  ];
}

function judge(line: ScaleCurve['lines'][number]): string {
  if (!line.isFlat) return '';
  if (growthOf(line) <= MAX_GROWTH) return 'flat';
  return line.why === undefined ? 'NOT FLAT' : `not flat: ${line.why}`;
}

function drawCurve({ title, xLabel, yLabel, lines }: ScaleCurve): string {
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  return drawChart({
    ...{ title, xLabel, yLabel, xScale: 'log', yScale: 'log', xTicks: xs },
    series: lines.map(({ label, points }) => ({ label, points })),
  });
}

function toMarkdown(report: ScaleReport, curves: readonly ScaleCurve[]): string {
  const { machine, limits, parts } = report;
  const others = parts.map(
    ({ title, othersBefore, seconds }) => `${title} ${(othersBefore * 100).toFixed(0)} % (${seconds} s)`,
  );
  const targets = targetRows(parts);
  const sections = [
    '# Cost at scale',
    'Written by `npm run bench -- --scale`; what is measured and how is in `test/bench/README.md`.',
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB; Node ${machine.node}, SQLite ${machine.sqlite}, Redis ` +
      `${machine.redis}; commit ${machine.commit}, finished ${report.finishedAt}. Medians of ${limits.rounds} turns of ` +
      `${limits.measureMs / 1_000} s. Others used of the machine's CPU time just before each part, and how long it took: ${others.join(', ')}.`,
    formatMarkdownTable(curveRows(curves)),
    ...(targets.length > 1 ? ['## Targets', formatMarkdownTable(targets)] : []),
    '## Sizes',
    formatMarkdownTable(sizingRows(report)),
    '## Plots',
    ...curves.map(({ id, title }) => `![${title}](${id}.svg)`),
  ];
  return `${sections.join('\n\n')}\n`;
}
