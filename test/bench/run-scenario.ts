import { type Contestant, type ContestantOptions, type RunTimes, startContestant } from './contestants.ts';
import type { Environment } from './environment.ts';
import { mergeLatencies, percentile } from './load/latencies.ts';
import type { LoadRun } from './load/load-messages.ts';
import { waitForQuiet } from './machine.ts';
import { median, quartiles } from './report/statistics.ts';
import type { ContestantName, Scenario } from './scenarios.ts';

/** Callers while a contestant is warmed, at least: a single one would take minutes to have the code compiled. */
const MIN_WARMING_CALLERS = 64;
const SETTLE_STEP_MS = 1_000;
/** A contestant is warm when it has become so much faster in none of so many steps. */
const SETTLED_GAIN = 0.03;
const SETTLED_STEPS = 3;
/** Share of the CPU used by other programs: that of an idle machine is below. */
const QUIET_SHARE = 0.1;

/** How a scenario is measured. */
export interface MeasureOptions extends RunTimes {
  /** Turns each contestant takes. */
  readonly rounds: number;
  /** How long each contestant is warmed before its first turn, at most. */
  readonly settleMs: number;
}

/** One contestant's figures in one scenario; medians over the rounds unless said otherwise. */
export interface Figures {
  readonly contestant: ContestantName;
  readonly proof: string | undefined;
  /** Operations per second: the median, each round's, and the quartiles. */
  readonly perSecond: number;
  readonly perSecondByRound: readonly number[];
  readonly quartiles: readonly [number, number];
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** All rounds together; see Latencies.toPairs. */
  readonly latencies: readonly number[];
  /** CPU seconds per 1,000 operations, by role. */
  readonly cpuPerThousand: Readonly<Record<string, number>>;
  /** Operations refused in all rounds (SQLITE_BUSY). */
  readonly refused: number;
}

/** What was measured in one scenario. */
export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly figures: readonly Figures[];
  /** Share of the machine's CPU (0 to 1) that others used just before: their load disturbs the figures. */
  readonly othersBefore: number;
}

/**
 * Lets the contestants of a scenario take turns: A B A B … so that what else the machine does, and its slower
 * moments, hit all of them. First each is warmed until its code is compiled (that of a server that has just started is
 * interpreted, three to five times slower); before each measured turn the callers get into swing.
 */
export async function runScenario(
  scenario: Scenario,
  environment: Environment,
  { rounds, settleMs, ...times }: MeasureOptions,
  options: ContestantOptions & {
    readonly contestants: readonly ContestantName[];
    readonly patienceMs: number;
  },
): Promise<ScenarioResult> {
  const othersBefore = await waitForQuiet(QUIET_SHARE, options.patienceMs);
  const contestants = [];
  try {
    for (const name of scenario.contestants) {
      if (!options.contestants.includes(name)) continue;
      contestants.push(await startContestant(name, scenario, environment, options));
    }
    const runs = new Map<ContestantName, LoadRun[]>(contestants.map(({ name }) => [name, []]));
    for (const contestant of contestants) await settle(contestant, scenario, settleMs);
    for (let round = 0; round < rounds; round++) {
      for (const contestant of contestants) runs.get(contestant.name)!.push(await contestant.run(times));
    }
    for (const contestant of contestants) await contestant.verify();
    return {
      ...{ scenario, othersBefore },
      figures: contestants.map(({ name, proof }) => toFigures(name, proof, runs.get(name)!)),
    };
  } finally {
    for (const contestant of contestants) await contestant.close();
  }
}

/** Warms a contestant until it gets no faster, seconds in a row. @param maxMs at most so long, in ms */
export async function settle({ run }: Contestant, { callers }: Scenario, maxMs: number): Promise<void> {
  const stepMs = Math.min(maxMs, SETTLE_STEP_MS);
  const step = { warmupMs: 0, measureMs: stepMs, callers: Math.max(callers, MIN_WARMING_CALLERS) };
  let best = 0;
  let since = 0;
  for (let ms = 0; ms < maxMs && since < SETTLED_STEPS; ms += stepMs) {
    const { operations } = await run(step);
    since = operations > best * (1 + SETTLED_GAIN) ? 0 : since + 1;
    best = Math.max(best, operations);
  }
}

function toFigures(contestant: ContestantName, proof: string | undefined, runs: readonly LoadRun[]): Figures {
  const perSecondByRound = runs.map(run => (run.operations * 1_000) / run.elapsedMs);
  const percentileOf = (share: number) => median(runs.map(run => percentile(run.latencies, share)));
  const cpuPerThousand: Record<string, number> = {};
  for (const role of Object.keys(runs[0]?.cpuSeconds ?? {})) {
    cpuPerThousand[role] = median(
      runs.map(run => ((run.cpuSeconds[role] ?? 0) * 1_000) / Math.max(1, run.operations)),
    );
  }
  return {
    ...{ contestant, proof, perSecond: median(perSecondByRound), perSecondByRound },
    quartiles: quartiles(perSecondByRound),
    ...{ p50Ms: percentileOf(0.5), p95Ms: percentileOf(0.95), p99Ms: percentileOf(0.99) },
    latencies: mergeLatencies(runs.map(run => run.latencies)),
    cpuPerThousand,
    refused: runs.reduce((sum, run) => sum + (run.refused ?? 0), 0),
  };
}
