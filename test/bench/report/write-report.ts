import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../machine.ts';
import type { Resources } from '../measure/resources.ts';
import { sourceFile } from '../paths.ts';
import type { MeasureOptions, ScenarioResult } from '../run-scenario.ts';
import { CONTESTANT_LABELS } from '../scenarios.ts';
import type { TargetResult } from '../targets.ts';
import { drawReportCharts, type ReportChart } from './report-charts.ts';
import { resourceRows, scenarioRows, targetRows } from './report-tables.ts';
import { formatMarkdownTable, formatTable } from './text-table.ts';

/** Everything a run found. */
export interface Report {
  readonly machine: Machine;
  readonly quick: boolean;
  /** Not all scenarios or contestants were run. */
  readonly partial: boolean;
  readonly measure: MeasureOptions;
  /** The whole run took. */
  readonly seconds: number;
  readonly finishedAt: string;
  readonly targets: readonly TargetResult[];
  readonly results: readonly ScenarioResult[];
  readonly resources: Resources | undefined;
}

/**
 * Prints the tables (or with `json` the report), and writes `results.json`, `report.md` and the plots. A full run goes
 * to `results/`, others go below it; git ignores them. The table of the README is what is kept.
 */
export async function writeReport(report: Report, json: boolean): Promise<void> {
  const folder = sourceFile(`results${report.quick ? '/quick' : report.partial ? '/partial' : ''}`);
  await mkdir(folder, { recursive: true });
  const charts = drawReportCharts(report.results);
  await rm(join(folder, 'report.md'), { force: true });
  for (const { file, svg } of charts) await writeFile(join(folder, file), svg);
  await writeFile(join(folder, 'results.json'), `${JSON.stringify(report, undefined, 2)}\n`);
  await writeFile(join(folder, 'report.md'), toMarkdown(report, charts));
  if (json) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
  const tables = [
    formatTable(scenarioRows(report.results)),
    ...(report.resources === undefined ? [] : [formatTable(resourceRows(report.resources))]),
    formatTable(targetRows(report.targets.filter(target => !report.partial || target.passed !== undefined))),
  ];
  process.stdout.write(`\n${tables.join('\n\n')}\n\n${report.seconds} s. Written: ${folder}/report.md\n`);
}

function toMarkdown(report: Report, charts: readonly ReportChart[]): string {
  const { machine, measure, resources } = report;
  const proofs = new Map(
    report.results.flatMap(({ figures }) =>
      figures.flatMap(({ contestant, proof }) =>
        proof ? [[CONTESTANT_LABELS[contestant], proof] as const] : [],
      ),
    ),
  );
  const shares = report.results.map(({ othersBefore }) => (othersBefore * 100).toFixed(0));
  const sections = [
    '# Benchmark results',
    'Written by `npm run bench`; what is measured and how is in `test/bench/README.md`.',
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB, Linux ${machine.kernel}; Node ${machine.node}, ` +
      `SQLite ${machine.sqlite}, Redis ${machine.redis}; a flush of 4 KiB takes ${machine.flushUs.growing.toFixed(0)} µs ` +
      `where the file grows and ${machine.flushUs.overwriting.toFixed(0)} µs where it is overwritten; commit ${machine.commit}, finished ${report.finishedAt}. ` +
      `Each warmed until it got no faster (${measure.settleMs / 1_000} s at most), then ${measure.rounds} turns of ${measure.measureMs / 1_000} s each, ` +
      `${measure.warmupMs / 1_000} s in swing before each, in turns with the others; figures are medians of the turns. ` +
      `Just before the scenarios others used ${shares.join(', ')} % of the machine's CPU time.`,
    '## Targets',
    formatMarkdownTable(targetRows(report.targets)),
    '## Throughput and latency',
    formatMarkdownTable(scenarioRows(report.results)),
    ...(resources === undefined ? [] : ['## Resources', formatMarkdownTable(resourceRows(resources))]),
    '## Durability',
    'Asked of the very connection that writes, before each scenario; after it the rows in the files were counted and were ' +
      'exactly the acknowledged ones.',
    formatMarkdownTable([['who', 'answer'], ...[...proofs].map(proof => [...proof])]),
    ...(charts.length === 0 ? [] : ['## Plots', ...charts.map(({ file, alt }) => `![${alt}](${file})`)]),
  ];
  return `${sections.join('\n\n')}\n`;
}
