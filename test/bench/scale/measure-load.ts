import { mergeLatencies, percentile } from '../load/latencies.ts';
import type { LoadRun, LoadSpec } from '../load/load-messages.ts';
import { type LoadProcess, startLoadProcess } from '../load/load-process.ts';
import { builtFile } from '../paths.ts';
import { median } from '../report/statistics.ts';
import type { ScaleLimits } from './scale-part.ts';

/** Figures of one point; medians of its turns. */
export interface LoadFigures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU microseconds of an operation, by role. */
  readonly cpuUs: Readonly<Record<string, number>>;
  /** The same of all roles. */
  readonly allCpuUs: number;
}

/** Starts a load process, with its tenants. */
export async function startLoad(spec: Omit<LoadSpec, 'schema' | 'seed'>): Promise<LoadProcess> {
  const load = await startLoadProcess(builtFile('load/load-main.js'), { ...spec, schema: 'sqlite', seed: 1 });
  try {
    await load.setUp();
    return load;
  } catch (error) {
    await load.close();
    throw error;
  }
}

/** Warms a load, and measures it. @param pids processes under test, by role */
export async function measureLoad(
  load: LoadProcess,
  pids: Readonly<Record<string, number>>,
  { warmupMs, measureMs, rounds }: ScaleLimits,
): Promise<LoadFigures> {
  const runs: LoadRun[] = [];
  const once = (ms: number) => load.run({ beginAt: Date.now(), warmupMs: 50, measureMs: ms, pids });
  await once(warmupMs);
  for (let round = 0; round < rounds; round++) runs.push(await once(measureMs));
  return toFigures(runs);
}

/** Medians of runs. */
export function toFigures(runs: readonly LoadRun[]): LoadFigures {
  const latencies = mergeLatencies(runs.map(run => run.latencies));
  const cpuUs = Object.fromEntries(
    Object.keys(runs[0]?.cpuSeconds ?? {}).map(role => [
      role,
      median(runs.map(run => (run.cpuSeconds[role]! * 1_000_000) / Math.max(1, run.operations))),
    ]),
  );
  return {
    perSecond: median(runs.map(run => (run.operations * 1_000) / run.elapsedMs)),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    cpuUs,
    allCpuUs: Object.values(cpuUs).reduce((sum, us) => sum + us, 0),
  };
}
