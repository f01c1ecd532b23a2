import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, deriveSeed } from '@onewriter/testkit';
import type { Fault, RoundContext } from './fault.ts';
import { readJournals } from './journal.ts';
import { judge, type Verdict } from './oracle/judge.ts';
import type { OracleOptions } from './oracle/options.ts';
import { BROKER_MAIN, Rig } from './rig.ts';

/** How a fault is run. */
export interface RunOptions {
  readonly seed: number;
  readonly rounds: number;
  /** An empty folder for everything that the run leaves. */
  readonly folder: string;
  /** Default: the one that is built. */
  readonly brokerMain?: string | undefined;
  /** Keep what a run leaves although nothing was found. */
  readonly keep?: boolean | undefined;
  /** How late an answer may be where the fault itself does not say it; for machines that do other work. Ms; default: 100. */
  readonly slackMs?: number | undefined;
  /** Prints the lines about what happens. */
  readonly say: (line: string) => void;
}

/** How a run went. */
export interface RunReport {
  readonly fault: string;
  readonly seed: number;
  readonly rounds: number;
  readonly verdicts: readonly Verdict[];
  /** What a round, a process or the machine did wrong. */
  readonly failures: readonly string[];
  /** Measured values by name. */
  readonly figures: ReadonlyMap<string, readonly number[]>;
  readonly ok: boolean;
}

const ROUNDS_PER_RIG = 20;

/** Runs a fault for a number of rounds and judges what it left. Never throws for what the fault shows. */
export async function runFault(fault: Fault, options: RunOptions): Promise<RunReport> {
  const { seed, rounds, say } = options;
  const verdicts: Verdict[] = [];
  const failures: string[] = [];
  const figures = new Map<string, number[]>();
  const perRig = fault.roundsPerRig ?? ROUNDS_PER_RIG;
  for (let first = 1; first <= rounds && failures.length === 0; first += perRig) {
    const last = Math.min(first + perRig - 1, rounds);
    const folder = join(options.folder, `rounds-${first}-${last}`);
    mkdirSync(folder, { recursive: true });
    const outcome = await runOnOneRig(fault, { ...options, folder }, first, last, figures);
    failures.push(...outcome.failures);
    if (outcome.verdict !== undefined) {
      verdicts.push(outcome.verdict);
      const { violations } = outcome.verdict;
      if (violations.length > 0) {
        failures.push(`The oracle found ${violations.length} violations in rounds ${first} to ${last}.`);
        for (const { kind, tenant, client, n, message } of violations.slice(0, 20)) {
          say(`  ${kind}: ${[tenant, client, n].filter(part => part !== undefined).join(' ')}: ${message}`);
        }
      }
    }
    if (failures.length === 0 && !options.keep) await rm(folder, { recursive: true, force: true });
    else say(`  What it left is in ${folder}`);
  }
  return { fault: fault.name, seed, rounds, verdicts, failures, figures, ok: failures.length === 0 };
}

async function runOnOneRig(
  fault: Fault,
  options: RunOptions,
  first: number,
  last: number,
  figures: Map<string, number[]>,
): Promise<{ readonly failures: string[]; readonly verdict: Verdict | undefined }> {
  const { folder, say, brokerMain = BROKER_MAIN } = options;
  const seed = deriveSeed(options.seed, `${fault.name} ${first}`);
  const random = createRandom(seed);
  const failures: string[] = [];
  const { slackMs } = options;
  let judgeBy: Partial<OracleOptions> = { ...(slackMs === undefined ? {} : { slackMs }), ...fault.judgeBy };
  let rig: Rig | undefined;
  let verdict: Verdict | undefined;
  let release: () => Promise<void> = async () => {};
  let said: string[] = [];
  const context = (round: number): RoundContext => ({
    rig: rig!,
    random,
    round,
    say: text => {
      said.push(text);
      rig!.note(`round ${round}: ${text}`);
    },
    judgeBy: more => {
      judgeBy = { ...judgeBy, ...more };
    },
    measure: (name, value) => {
      figures.set(name, [...(figures.get(name) ?? []), value]);
    },
    figures: name => figures.get(name) ?? [],
  });
  try {
    release = (await fault.prepare?.({ folder, random })) ?? release;
    const rigOptions = typeof fault.rig === 'function' ? fault.rig({ folder, random }) : fault.rig;
    rig = await Rig.start({ folder, seed, brokerMain }, rigOptions);
    for (let round = first; round <= last; round++) {
      said = [];
      const before = rig.committed;
      const startedAt = performance.now();
      try {
        await fault.round(context(round));
        rig.assertClientsAlive();
      } finally {
        const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
        say(`  round ${round}: ${said.join('; ')} (${seconds} s, ${rig.committed - before} committed)`);
      }
    }
    said = [];
    try {
      await fault.afterRounds?.(context(last));
    } catch (error) {
      // What it says of figures takes nothing from what the oracle can say of a run that ends in order.
      failures.push(describe(error));
    }
    if (said.length > 0) say(`  after round ${last}: ${said.join('; ')}`);
    await rig.finish();
  } catch (error) {
    failures.push(describe(error));
    if (!['FaultFailure', 'CannotInject'].includes((error as Error).name))
      say(String((error as Error).stack));
  }
  try {
    await rig?.destroy();
    // Also after a failure: what is in the files then is a clue.
    if (rig !== undefined) {
      const { dataDir, tenants, gatewayStarved } = rig;
      verdict = judge(readJournals(rig.journals), { dataDir, tenants, gatewayStarved, ...judgeBy });
    }
  } catch (error) {
    failures.push(`The oracle could not judge: ${String((error as Error).stack)}`);
  } finally {
    await release();
  }
  return { failures, verdict };
}

function describe(error: unknown): string {
  return `${(error as Error).name}: ${(error as Error).message}`;
}

/** One line per figure and outcome. */
export function summarize(report: RunReport): string[] {
  const sum = (value: (verdict: Verdict) => number) =>
    report.verdicts.reduce((all, verdict) => all + value(verdict), 0);
  const failed: Record<string, number> = {};
  for (const { counts } of report.verdicts) {
    for (const [code, count] of Object.entries(counts.failed)) failed[code] = (failed[code] ?? 0) + count;
  }
  const codes = Object.entries(failed).sort(([, a], [, b]) => b - a);
  return [
    `${report.fault}: ${report.ok ? 'ok' : 'FAILED'} · seed ${report.seed} · ${report.rounds} rounds · ` +
      `${sum(({ counts }) => counts.issued)} writes, ${sum(({ counts }) => counts.committed)} acknowledged, ` +
      `${sum(({ counts }) => counts.unknown)} unknown, ${sum(({ counts }) => counts.unanswered)} unheard, ` +
      `${sum(({ counts }) => counts.rows)} rows, ${sum(({ counts }) => counts.commits)} commits`,
    ...describeLateness(report.verdicts),
    ...(codes.length > 0 ? [`  failed: ${codes.map(([code, count]) => `${code} ${count}`).join(', ')}`] : []),
    ...Array.from(report.figures, ([name, values]) => `  ${name}: ${describeFigures(values)}`),
    ...report.failures.map(failure => `  ${failure}`),
  ];
}

function describeLateness(verdicts: readonly Verdict[]): string[] {
  const latestMs = Math.max(0, ...verdicts.map(({ counts }) => counts.latestMs));
  if (latestMs === 0) return [];
  const starved = verdicts.reduce((sum, { counts }) => sum + counts.starved, 0);
  return [
    `  latest answer ${Math.round(latestMs)} ms after its deadline; ${starved} more late by what the machine took`,
  ];
}

function describeFigures(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!);
  return `median ${at(0.5)}, p95 ${at(0.95)}, max ${at(1)} (${values.length})`;
}
