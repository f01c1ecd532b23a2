import { DEFAULT_DB_FILE } from '@onewriter/protocol';
import type { LoadRun } from '../load/load-messages.ts';
import type { LoadProcess } from '../load/load-process.ts';
import { openFilesNamed } from '../measure/process-usage.ts';
import { median } from '../report/statistics.ts';
import { startLoad, toFigures } from './measure-load.ts';
import type { ScaleContext, ScalePart, ScaleResult, ScaleTarget } from './scale-part.ts';

const CALLERS = 64;
/** Tenants in turns: the least recently used is always the next, which is the worst case for a bound of open files. */
const IN_TURNS = 1_000;
/** Tenants of which each operation takes any. */
const UNIFORM = [4_000, 10_000];
/** What defaults may cost against everything open. */
const MAX_RATIO = 1.15;
/** Twice what 64 callers did over 10,000 tenants when each thread kept 256 files open. */
const MIN_PER_SECOND = 972;
/** A pass over all tenants, so that what is measured is not their first opening. */
const PASS_STEP_MS = 500;
const PASS_TIMEOUT_MS = 300_000;
/** Both in one round, so that a machine that others slow down slows both, and in turns first. */
const KINDS = ['defaults', 'all'] as const;

/** Few callers and many tenants: what it costs that files are opened and closed, or kept open. */
export const scaleTurns: ScalePart = {
  id: 'turns',
  title: 'Tenants in turns',
  async measure(context: ScaleContext): Promise<ScaleResult> {
    const { limits } = context;
    const inTurns = Math.min(IN_TURNS, limits.maxTenants);
    const turns = limits.lastStepOnly ? undefined : await measureTurns(context, inTurns);
    const points: { x: number; y: number; perSecond: number }[] = [];
    const sizes = [...new Set(UNIFORM.map(tenants => Math.min(tenants, limits.maxTenants)))];
    for (const tenants of limits.lastStepOnly ? sizes.slice(-1) : sizes) {
      points.push({ x: tenants, ...(await measureUniform(context, tenants)) });
    }
    const last = points.at(-1)!;
    const targets: ScaleTarget[] = [];
    if (turns !== undefined) {
      targets.push({
        what: `${CALLERS} callers over ${inTurns} tenants in turns: everything open against defaults`,
        ...{ asked: `at most ${MAX_RATIO}x`, measured: `${turns.ratio.toFixed(2)}x` },
        passed: turns.ratio <= MAX_RATIO,
      });
    }
    targets.push({
      what: `${CALLERS} callers anywhere in ${last.x} tenants`,
      ...{ asked: `at least ${MIN_PER_SECOND}/s`, measured: `${last.perSecond.toFixed(0)}/s` },
      passed: last.perSecond >= MIN_PER_SECOND,
    });
    return {
      targets,
      facts: {
        ...(turns === undefined ? {} : { turnsRatio: turns.ratio }),
        ...{ uniformTenants: last.x, uniformPerSecond: last.perSecond },
      },
      curves: [
        {
          ...{ id: 'turns-cpu', title: `CPU of a write anywhere in so many tenants (${CALLERS} callers)` },
          ...{ xLabel: 'tenants', yLabel: 'CPU µs' },
          lines: [
            {
              label: 'a write (broker)',
              points: points.map(({ x, y }) => ({ x, y })),
              isFlat: true,
              why: 'more tenants than may be open are closed and opened',
            },
          ],
        },
      ],
    };
  },
};

/** The same load against a broker with defaults, and one that may keep everything open, in turns. */
async function measureTurns(
  { environment, limits, say }: ScaleContext,
  tenants: number,
): Promise<{ ratio: number }> {
  const load = await startTurns(environment, tenants, 'turns', 't');
  const rates: Record<(typeof KINDS)[number], number[]> = { defaults: [], all: [] };
  try {
    for (let round = 0; round < limits.rounds; round++) {
      for (const kind of round % 2 === 0 ? KINDS : KINDS.toReversed()) {
        await environment.stopBroker();
        const broker = await environment.broker(
          kind === 'all' ? { ONEWRITER_MAX_OPEN_TENANTS: String(tenants) } : {},
        );
        await pass(load, tenants);
        const run = await load.run({
          beginAt: Date.now(),
          ...{ warmupMs: 50, measureMs: limits.measureMs, pids: { broker: broker.pid } },
        });
        const { perSecond, allCpuUs } = toFigures([run]);
        rates[kind].push(perSecond);
        say(
          `${tenants} tenants in turns, ${kind === 'all' ? 'everything open' : 'defaults'}: ${perSecond.toFixed(0)}/s, ` +
            `a write ${allCpuUs.toFixed(0)} µs of CPU, ${openFilesNamed(DEFAULT_DB_FILE, broker.pid)} open`,
        );
      }
    }
  } finally {
    await load.close();
  }
  // The ratio of each round, not of the medians: the load of the machine changes.
  return { ratio: median(rates.all.map((rate, round) => rate / rates.defaults[round]!)) };
}

async function measureUniform(
  { environment, limits, say }: ScaleContext,
  tenants: number,
): Promise<{ y: number; perSecond: number }> {
  await environment.stopBroker();
  const load = await startTurns(environment, tenants, 'uniform', `${tenants / 1_000}k-`);
  try {
    const broker = await environment.broker();
    await pass(load, tenants);
    const runs: LoadRun[] = [];
    for (let round = 0; round < limits.rounds; round++) {
      const pids = { broker: broker.pid };
      runs.push(await load.run({ beginAt: Date.now(), warmupMs: 50, measureMs: limits.measureMs, pids }));
    }
    const { perSecond, p50Ms, cpuUs } = toFigures(runs);
    say(
      `anywhere in ${tenants} tenants: ${perSecond.toFixed(0)}/s, p50 ${p50Ms.toFixed(1)} ms, a write ` +
        `${cpuUs['broker']!.toFixed(0)} µs of CPU of the broker, ${openFilesNamed(DEFAULT_DB_FILE, broker.pid)} open`,
    );
    return { y: cpuUs['broker']!, perSecond };
  } finally {
    await load.close();
  }
}

async function startTurns(
  environment: ScaleContext['environment'],
  tenants: number,
  choice: 'turns' | 'uniform',
  prefix: string,
): Promise<LoadProcess> {
  const [server, dataDir] = [await environment.redis('onewriter'), await environment.folder('onewriter')];
  await environment.broker();
  return startLoad({
    driver: { kind: 'sdk', redisUrl: server.url, dataDir },
    ...{ workload: 'insert', callers: CALLERS, choice },
    // Short names: they go to the load process in one argument, which Linux bounds to 128 KiB.
    tenants: Array.from({ length: tenants }, (_, index) => `${prefix}${index}`),
  });
}

/** Runs the load until it has done as many writes as there are tenants. @throws Error after a while */
async function pass(load: LoadProcess, tenants: number): Promise<void> {
  const deadline = performance.now() + PASS_TIMEOUT_MS;
  for (let done = 0; done < tenants; ) {
    if (performance.now() > deadline) throw new Error(`${tenants} tenants were not written in time.`);
    const run = await load.run({ beginAt: Date.now(), warmupMs: 0, measureMs: PASS_STEP_MS, pids: {} });
    done += run.operations;
  }
}
