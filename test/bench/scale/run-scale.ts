import { Environment } from '../environment.ts';
import { busyShare, describeMachine } from '../machine.ts';
import type { BenchOptions } from '../options.ts';
import { SCALE_PARTS } from './parts.ts';
import type { ScaleLimits } from './scale-part.ts';
import { printSizingTable, type ScaleReport, writeScaleReport } from './scale-report.ts';

const FULL: ScaleLimits = {
  ...{ maxTenants: 20_000, maxFileMib: 4_096, importRows: 100_000 },
  ...{ measureMs: 2_000, rounds: 3, warmupMs: 5_000 },
};
const QUICK: ScaleLimits = {
  ...{ maxTenants: 1_000, maxFileMib: 256, importRows: 10_000 },
  ...{ measureMs: 700, rounds: 3, warmupMs: 1_500 },
};
const BUSY_MS = 500;

/** `npm run bench -- --scale`: what each unit costs as their number grows. */
export async function runScale(options: BenchOptions): Promise<void> {
  const { quick, only, mains, json } = options;
  const wanted = SCALE_PARTS.filter(({ id }) => only.length === 0 || only.includes(id));
  const limits = limitedBy(process.env, quick ? QUICK : FULL);
  const isLimited = !quick && JSON.stringify(limits) !== JSON.stringify(FULL);
  const partial = wanted.length < SCALE_PARTS.length || isLimited;
  if (options.sizing) return printSizingTable({ quick, partial });
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const started = performance.now();
  const parts: ScaleReport['parts'][number][] = [];
  const failures: Error[] = [];
  let machine: ScaleReport['machine'] | undefined;
  for (const part of wanted) {
    const othersBefore = await busyShare(BUSY_MS);
    say(`${part.title} (others use ${(othersBefore * 100).toFixed(0)} % of the machine)`);
    await using environment = new Environment({ mains });
    machine ??= describeMachine(await environment.folder('machine'));
    const partStarted = performance.now();
    try {
      const result = await part.measure({ environment, limits, say: line => say(`  ${line}`) });
      parts.push({
        id: part.id,
        title: part.title,
        othersBefore,
        seconds: secondsSince(partStarted),
        result,
      });
    } catch (error) {
      // What the others measured is kept.
      say(`  failed after ${secondsSince(partStarted)} s: ${(error as Error).message}`);
      failures.push(new Error(`The part ${part.id} failed.`, { cause: error }));
    }
  }
  await writeScaleReport(
    {
      ...{ machine: machine!, limits, quick, partial: partial || failures.length > 0, parts },
      finishedAt: new Date().toISOString(),
      seconds: secondsSince(started),
    },
    json,
  );
  if (failures.length > 0)
    throw new AggregateError(failures, 'Parts of the run failed; the others are in the report.');
}

function secondsSince(started: number): number {
  return Math.round((performance.now() - started) / 1_000);
}

/** Smaller bounds, or larger ones, by the environment. @throws TypeError */
export function limitedBy(env: NodeJS.ProcessEnv, limits: ScaleLimits): ScaleLimits {
  const read = (name: string, otherwise: number): number => {
    const value = env[name];
    if (value === undefined || value === '') return otherwise;
    if (!/^[1-9]\d{0,7}$/.test(value)) throw new TypeError(`${name} takes a whole number above 0.`);
    return Number(value);
  };
  return {
    ...limits,
    maxTenants: read('BENCH_SCALE_TENANTS', limits.maxTenants),
    maxFileMib: read('BENCH_SCALE_FILE_MIB', limits.maxFileMib),
    importRows: read('BENCH_SCALE_IMPORT_ROWS', limits.importRows),
    ...(env['BENCH_SCALE_LAST_STEP'] === '1' ? { lastStepOnly: true } : {}),
  };
}
