import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Contestant, startContestant } from '../contestants.ts';
import { mergeLatencies, percentile } from '../load/latencies.ts';
import type { LoadRun } from '../load/load-messages.ts';
import { busyShare } from '../machine.ts';
import type { BenchOptions } from '../options.ts';
import { sourceFile } from '../paths.ts';
import { median } from '../report/statistics.ts';
import { formatTable } from '../report/text-table.ts';
import { settle } from '../run-scenario.ts';
import { REPLICA_LOADS, type ReplicaKind, type ReplicaLoad } from './replica-loads.ts';
import { cpuRows, type ReplicaFigures, ratioRows } from './replica-tables.ts';
import { ReplicatingBroker } from './replicating-broker.ts';

const KINDS: readonly ReplicaKind[] = ['off', 'async', 'sync', 'folder'];
const BUSY_MS = 500;

/** A broker's load, and what its turns measured. */
interface Contender {
  readonly broker: ReplicatingBroker;
  readonly contestant: Contestant;
  readonly runs: LoadRun[];
  /** CPU microseconds of an operation in each turn. */
  readonly cpuUs: ReadonlyMap<string, number>[];
}

/** `npm run bench -- --replica`: the same loads without a replica and with one, in turns. */
export async function runReplica(options: BenchOptions): Promise<void> {
  const { only, quick, json } = options;
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  say(`Others use ${((await busyShare(BUSY_MS)) * 100).toFixed(0)} % of the machine.`);
  const brokers: ReplicatingBroker[] = [];
  const figures: ReplicaFigures[] = [];
  try {
    for (const kind of KINDS) brokers.push(await ReplicatingBroker.start(kind, { mains: options.mains }));
    for (const load of REPLICA_LOADS) {
      if (only.length > 0 && !only.includes(load.id)) continue;
      const measured = await measureLoad(load, brokers, options);
      figures.push(...measured);
      say(`\n${formatTable(ratioRows(measured))}\n\n${formatTable(cpuRows(measured))}`);
    }
  } finally {
    for (const broker of brokers) await broker[Symbol.asyncDispose]();
  }
  const folder = sourceFile(`results/${quick ? 'quick/replica' : 'replica'}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'results.json'), `${JSON.stringify(figures, undefined, 2)}\n`);
  if (json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  else process.stdout.write(`\n${formatTable(ratioRows(figures))}\n\n${formatTable(cpuRows(figures))}\n`);
}

async function measureLoad(
  load: ReplicaLoad,
  brokers: readonly ReplicatingBroker[],
  { measure }: BenchOptions,
): Promise<readonly ReplicaFigures[]> {
  const contenders: Contender[] = [];
  try {
    for (const broker of brokers) {
      const contestant = await startContestant('onewriter', load, broker.environment);
      contenders.push({ broker, contestant, runs: [], cpuUs: [] });
    }
    for (const { contestant } of contenders) await settle(contestant, load, measure.settleMs);
    for (let round = 0; round < measure.rounds; round++) {
      // The one that follows another is not always the same.
      for (const each of round % 2 === 0 ? contenders : contenders.toReversed()) {
        await takeTurn(each, load, measure);
      }
    }
    for (const { contestant } of contenders) await contestant.verify();
    const bases = contenders[0]!.runs.map(perSecond);
    return contenders.map(each => toFigures(each, load, bases));
  } finally {
    for (const { contestant } of contenders) await contestant.close();
  }
}

async function takeTurn(
  { broker, contestant, runs, cpuUs }: Contender,
  load: ReplicaLoad,
  { warmupMs, measureMs }: BenchOptions['measure'],
): Promise<void> {
  const before = broker.cpuSeconds();
  const run = await contestant.run({ warmupMs, measureMs });
  // What the turn leaves to be stored belongs to it.
  await broker.untilStored(`${load.id}-onewriter-0`);
  runs.push(run);
  cpuUs.push(usOfEach(before, broker.cpuSeconds(), run));
}

function usOfEach(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  { operations, rows, allRows, cpuSeconds }: LoadRun,
): ReadonlyMap<string, number> {
  // Also those of the warm-up: the broker was looked at from the beginning to the end.
  const all = (allRows * operations) / rows;
  const us = [...after].map(([name, seconds]) => {
    return [name, Math.max(0, ((seconds - (before.get(name) ?? 0)) * 1e6) / all)] as const;
  });
  return new Map([...us, ['client', ((cpuSeconds['client'] ?? 0) * 1e6) / operations]]);
}

function perSecond({ operations, elapsedMs }: LoadRun): number {
  return (operations * 1_000) / elapsedMs;
}

/** Ratios are of turns beside each other. */
function toFigures(
  { broker: { kind }, runs, cpuUs }: Contender,
  load: ReplicaLoad,
  bases: readonly number[],
): ReplicaFigures {
  const latencies = mergeLatencies(runs.map(run => run.latencies));
  const names = new Set(cpuUs.flatMap(each => [...each.keys()]));
  const medianUs = (name: string) => median(cpuUs.map(each => each.get(name) ?? 0));
  return {
    ...{ load: load.id, title: load.title, kind, asked: load.asked[kind] },
    perSecond: median(runs.map(perSecond)),
    ratio: median(runs.map((run, turn) => perSecond(run) / bases[turn]!)),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    cpuUs: Object.fromEntries([...names].map(name => [name, medianUs(name)])),
  };
}
