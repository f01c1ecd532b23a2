import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { startContestant } from './contestants.ts';
import { Environment } from './environment.ts';
import type { BenchOptions, ProfileTarget } from './options.ts';
import { sourceFile } from './paths.ts';
import { formatNumber } from './report/format.ts';
import { formatTable } from './report/text-table.ts';
import { settle } from './run-scenario.ts';
import { SCENARIOS } from './scenarios.ts';

/** What V8 writes. Source: the DevTools protocol, Profiler.Profile. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const FOLDER = sourceFile('results/profiles');
const TOP = 32;
const PROFILE_MS = 5_000;

/** Runs one scenario and prints where one process spends its time: of each of its threads the top functions. */
export async function runProfile(target: ProfileTarget, options: BenchOptions): Promise<void> {
  const id = options.only[0] ?? (target === 'gateway' ? 'gateway-insert' : 'insert-64');
  const scenario = SCENARIOS.find(it => it.id.startsWith(id))!;
  const name = scenario.contestants.includes('gateway') ? 'gateway' : 'onewriter';
  await rm(FOLDER, { recursive: true, force: true });
  const profiling = ['--cpu-prof', `--cpu-prof-dir=${FOLDER}`, '--cpu-prof-interval=500'];
  {
    await using environment = new Environment({
      mains: options.mains,
      nodeArguments: { [target]: profiling },
    });
    const contestant = await startContestant(name, scenario, environment, {
      loadArguments: target === 'client' ? profiling : [],
    });
    const redis = new Redis((await environment.redis('onewriter')).url);
    try {
      await settle(contestant, scenario, options.measure.settleMs);
      await redis.config('RESETSTAT');
      const run = await contestant.run({ warmupMs: options.measure.warmupMs, measureMs: PROFILE_MS });
      const perSecond = (run.operations * 1_000) / run.elapsedMs;
      process.stdout.write(`${scenario.title}: ${formatNumber(perSecond)} ops/s\n`);
      process.stdout.write(`CPU seconds per second: ${formatCpu(run.cpuSeconds, run.elapsedMs)}\n\n`);
      if (target === 'redis')
        process.stdout.write(`${formatCommands(await redis.info('commandstats'), run.operations)}\n`);
    } finally {
      redis.disconnect();
      await contestant.close();
    }
  }
  if (target === 'redis') return;
  // One file per thread, each written when its thread ends.
  for (const file of (await readdir(FOLDER)).sort()) {
    const profile = JSON.parse(await readFile(join(FOLDER, file), 'utf8')) as CpuProfile;
    process.stdout.write(`${file}\n${formatTop(profile)}\n\n`);
  }
}

function formatCpu(cpuSeconds: Readonly<Record<string, number>>, elapsedMs: number): string {
  return Object.entries(cpuSeconds)
    .map(([role, seconds]) => `${role} ${formatNumber((seconds * 1_000) / elapsedMs)}`)
    .join(', ');
}

/** Self time by function, without what was idle. */
function formatTop({ nodes, samples, timeDeltas }: CpuProfile): string {
  const frames = new Map(nodes.map(node => [node.id, node.callFrame]));
  const selfUs = new Map<string, number>();
  let busyUs = 0;
  let totalUs = 0;
  samples.forEach((id, index) => {
    const { functionName, url, lineNumber } = frames.get(id)!;
    const us = timeDeltas[index]!;
    totalUs += us;
    if (functionName === '(idle)') return;
    busyUs += us;
    const key = `${functionName || '(anonymous)'}  ${shortUrl(url)}${url === '' ? '' : `:${lineNumber + 1}`}`;
    selfUs.set(key, (selfUs.get(key) ?? 0) + us);
  });
  const top = [...selfUs].sort(([, a], [, b]) => b - a).slice(0, TOP);
  const rows = top.map(([key, us]) => [`${((us * 100) / busyUs).toFixed(1)} %`, key]);
  const busy = `busy ${((busyUs * 100) / totalUs).toFixed(0)} % of ${formatNumber(totalUs / 1_000_000)} s`;
  return formatTable([['self', busy], ...rows]);
}

function shortUrl(url: string): string {
  const path = url.startsWith('file:') ? fileURLToPath(url) : url;
  return path.replace(/^.*\/node_modules\//, '').replace(sourceFile('../../'), '');
}

/** Redis's own account of what its commands took. */
function formatCommands(info: string, operations: number): string {
  const rows = [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+),usec=(\d+),usec_per_call=([\d.]+)/gm)]
    .map(([, name, calls, us, perCall]) => ({
      name: name!,
      calls: Number(calls),
      us: Number(us),
      perCall: Number(perCall),
    }))
    .sort((a, b) => b.us - a.us)
    .slice(0, TOP);
  return formatTable([
    ['command', 'calls', 'µs in all', 'µs per call', 'calls per 1,000 operations'],
    ...rows.map(({ name, calls, us, perCall }) => [
      ...[name, formatNumber(calls), formatNumber(us), formatNumber(perCall)],
      formatNumber((calls * 1_000) / operations),
    ]),
  ]);
}
