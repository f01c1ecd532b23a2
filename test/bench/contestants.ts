import { tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { Environment } from './environment.ts';
import type { DriverSpec } from './load/driver.ts';
import { openDriver } from './load/driver.ts';
import { mergeLatencies } from './load/latencies.ts';
import type { LoadRun, LoadSpec } from './load/load-messages.ts';
import { type LoadProcess, startLoadProcess } from './load/load-process.ts';
import { processTreeOf } from './measure/process-usage.ts';
import { builtFile } from './paths.ts';
import type { InProcessSpec } from './peers/in-process.ts';
import type { ContestantName, Scenario } from './scenarios.ts';
import { WORKLOADS } from './workloads.ts';

/** How long one run of a load takes. */
export interface RunTimes {
  readonly warmupMs: number;
  readonly measureMs: number;
  /** In place of the scenario's; what has none of its own (SQLite in process) keeps its own. */
  readonly callers?: number | undefined;
}

/** A system under test in one scenario, ready to take its turns. */
export interface Contestant {
  readonly name: ContestantName;
  /** What its writing connection said about its durability; undefined where nothing is written. */
  readonly proof: string | undefined;
  run(times: RunTimes): Promise<LoadRun>;
  /** Compares what was written with what was acknowledged. @throws Error where they differ */
  verify(): Promise<void>;
  close(): Promise<void>;
}

/** Options of Node for load processes: profiling. */
export interface ContestantOptions {
  readonly loadArguments?: readonly string[] | undefined;
}

/** Time in which a command reaches all load processes. */
const BEGIN_DELAY_MS = 20;
/** Connections that a system with a pool gets at most. */
const MAX_CONNECTIONS = 64;

/** Starts a system for a scenario: its servers, its load process, its tenants with their rows. */
export async function startContestant(
  name: ContestantName,
  scenario: Scenario,
  environment: Environment,
  options: ContestantOptions = {},
): Promise<Contestant> {
  if (scenario.workload === 'get') return startGet(name, scenario, environment, options);
  switch (name) {
    case 'onewriter':
    case 'owner': {
      const [broker, redis] = [await environment.broker(), await environment.redis('onewriter')];
      const dataDir = await environment.folder('onewriter');
      const pids = { broker: broker.pid, redis: redis.pid() };
      return startDriven(
        name,
        scenario,
        { kind: 'sdk', redisUrl: redis.url, dataDir: name === 'owner' ? undefined : dataDir },
        dataDir,
        pids,
        options,
      );
    }
    case 'beside-owner':
      return startBeside(name, scenario, environment, options);
    case 'gateway': {
      const [gateway, broker] = [await environment.gateway(), await environment.broker()];
      const redis = await environment.redis('onewriter');
      const { url, token } = gateway;
      const pids = { gateway: gateway.pid, broker: broker.pid, redis: redis.pid() };
      const driver: DriverSpec = { kind: 'http', url, token, connections: scenario.callers };
      return startDriven(name, scenario, driver, await environment.folder('onewriter'), pids, options);
    }
    case 'proxy': {
      const { url, pid } = await environment.proxy();
      const driver: DriverSpec = { kind: 'http', url, connections: scenario.callers };
      return startDriven(name, scenario, driver, await environment.folder('proxy'), { proxy: pid }, options);
    }
    case 'bullmq': {
      const [{ pid, queue }, redis] = [await environment.bullmqWorker(), await environment.redis('bullmq')];
      const driver: DriverSpec = { kind: 'bullmq', redisUrl: redis.url, queue };
      const pids = { worker: pid, redis: redis.pid() };
      return startDriven(name, scenario, driver, await environment.folder('bullmq'), pids, options);
    }
    case 'postgres': {
      const { url, pid } = await environment.postgres();
      const connections = Math.min(scenario.callers, MAX_CONNECTIONS);
      return startDriven(
        name,
        scenario,
        { kind: 'postgres', url, connections },
        undefined,
        { postgres: pid },
        options,
      );
    }
    case 'sqlite-1':
      return startInProcess(name, scenario, environment, { processes: 1, perTransaction: 1 });
    case 'sqlite-100':
      return startInProcess(name, scenario, environment, { processes: 1, perTransaction: 100 });
    case 'sqlite-4-processes':
      return startInProcess(name, scenario, environment, { processes: 4, perTransaction: 1 });
    default:
      throw new TypeError(`Unknown contestant ${name satisfies never}.`);
  }
}

/** @param dataDir where its tenants' files are; undefined where they are not SQLite files */
async function startDriven(
  name: ContestantName,
  scenario: Scenario,
  driver: DriverSpec,
  dataDir: string | undefined,
  pids: Readonly<Record<string, number>>,
  options: ContestantOptions,
): Promise<Contestant> {
  const workloadName = scenario.workload as keyof typeof WORKLOADS;
  const tenants = Array.from({ length: scenario.tenants }, (_, index) => `${scenario.id}-${name}-${index}`);
  const spec: LoadSpec = {
    driver,
    workload: workloadName,
    schema: driver.kind === 'postgres' ? 'postgres' : 'sqlite',
    tenants,
    callers: scenario.callers,
    choice: scenario.choice ?? 'own',
    seed: 1,
  };
  const load = await startLoadProcess(builtFile('load/load-main.js'), spec, options.loadArguments);
  const { check } = WORKLOADS[workloadName];
  const count = async () =>
    dataDir === undefined ? countWithDriver(driver, tenants, check) : countInFiles(dataDir, tenants, check);
  try {
    const proof = await load.setUp();
    assertDurable(name, proof);
    return contestantOf(name, proof, [load], await count(), count, () => pids);
  } catch (error) {
    await load.close();
    throw error;
  }
}

/** Writes whose speed is measured, while other callers read another tenant through the owner. */
async function startBeside(
  name: ContestantName,
  scenario: Scenario,
  environment: Environment,
  options: ContestantOptions,
): Promise<Contestant> {
  const [broker, redis] = [await environment.broker(), await environment.redis('onewriter')];
  const dataDir = await environment.folder('onewriter');
  const pids = { broker: broker.pid, redis: redis.pid() };
  const sdk = { kind: 'sdk', redisUrl: redis.url } as const;
  const readers = await startDriven(
    'owner',
    { ...scenario, workload: 'read' },
    { ...sdk, dataDir: undefined },
    dataDir,
    {},
    options,
  );
  try {
    const writers = await startDriven(name, scenario, { ...sdk, dataDir }, dataDir, pids, options);
    return {
      ...writers,
      run: async times => (await Promise.all([writers.run(times), readers.run(times)]))[0],
      close: async () => void (await Promise.all([writers.close(), readers.close()])),
    };
  } catch (error) {
    await readers.close();
    throw error;
  }
}

async function startInProcess(
  name: ContestantName,
  scenario: Scenario,
  environment: Environment,
  { processes, perTransaction }: { processes: number; perTransaction: number },
): Promise<Contestant> {
  const dataDir = await environment.folder(name);
  const tenant = `${scenario.id}-0`;
  const write: InProcessSpec['write'] = scenario.workload === 'kanban-drag' ? 'kanban-drag' : 'insert';
  const loads: LoadProcess[] = [];
  let proof: string | undefined;
  for (let index = 0; index < processes; index++) {
    const spec: InProcessSpec = {
      ...{ file: tenantFile(dataDir, tenant), write, perTransaction },
      ...{ busyTimeoutMs: 5_000, makesTables: index === 0 },
    };
    const load = await startLoadProcess(builtFile('peers/in-process.js'), spec);
    loads.push(load);
    proof = await load.setUp();
    assertDurable(name, proof);
  }
  const count = async () => countInFiles(dataDir, [tenant], WORKLOADS[write].check);
  return contestantOf(name, proof, loads, await count(), count, () => ({}));
}

async function startGet(
  name: ContestantName,
  scenario: Scenario,
  environment: Environment,
  options: ContestantOptions,
): Promise<Contestant> {
  await environment.broker();
  const spec = {
    with: name === 'onewriter' ? 'sdk' : 'better-sqlite3',
    redisUrl: (await environment.redis('onewriter')).url,
    dataDir: await environment.folder('onewriter'),
    tenant: scenario.id,
  };
  const load = await startLoadProcess(builtFile('load/get-main.js'), spec, options.loadArguments);
  await load.setUp();
  return contestantOf(
    name,
    undefined,
    [load],
    0,
    async () => 0,
    () => ({}),
  );
}

function contestantOf(
  name: ContestantName,
  proof: string | undefined,
  loads: readonly LoadProcess[],
  countBefore: number,
  count: () => Promise<number>,
  pids: () => Readonly<Record<string, number>>,
): Contestant {
  let expected = countBefore;
  return {
    name,
    proof,
    run: async times => {
      // A server may have made processes of its own since (PostgreSQL has one per connection).
      const all = Object.entries(pids()).flatMap(([role, pid]) =>
        processTreeOf(pid).map((member, index) => [index === 0 ? role : `${role}/${index}`, member] as const),
      );
      const command = { ...times, pids: Object.fromEntries(all), beginAt: Date.now() + BEGIN_DELAY_MS };
      const runs = await Promise.all(loads.map(load => load.run(command)));
      const run = mergeRuns(runs);
      expected += run.allRows;
      return run;
    },
    verify: async () => {
      const found = await count();
      if (found !== expected)
        throw new Error(`${name}: ${expected} rows were acknowledged, ${found} are there.`);
    },
    close: async () => void (await Promise.all(loads.map(load => load.close()))),
  };
}

/** Adds up several processes' runs, and the processes of one role. */
function mergeRuns(runs: readonly LoadRun[]): LoadRun {
  const sum = (value: (run: LoadRun) => number) => runs.reduce((total, run) => total + value(run), 0);
  const cpuSeconds: Record<string, number> = {};
  for (const run of runs) {
    for (const [role, seconds] of Object.entries(run.cpuSeconds)) {
      const group = role.split('/')[0]!;
      cpuSeconds[group] = (cpuSeconds[group] ?? 0) + seconds;
    }
  }
  return {
    operations: sum(run => run.operations),
    rows: sum(run => run.rows),
    elapsedMs: Math.max(...runs.map(run => run.elapsedMs)),
    allRows: sum(run => run.allRows),
    latencies: mergeLatencies(runs.map(run => run.latencies)),
    cpuSeconds,
    refused: sum(run => run.refused ?? 0),
  };
}

/** The same promise for all contestants: an answer means that it was synced. */
function assertDurable(name: ContestantName, proof: string | undefined): void {
  const wanted = name === 'postgres' ? 'synchronous_commit=on fsync=on' : 'synchronous=2';
  if (proof !== wanted) throw new Error(`${name} writes with ${proof}; the comparison needs ${wanted}.`);
}

function countInFiles(dataDir: string, tenants: readonly string[], check: string): number {
  let total = 0;
  for (const tenant of tenants) {
    const db = new Database(tenantFile(dataDir, tenant), { readonly: true });
    try {
      total += db.prepare(check).pluck().get() as number;
    } finally {
      db.close();
    }
  }
  return total;
}

async function countWithDriver(
  driver: DriverSpec,
  tenants: readonly string[],
  check: string,
): Promise<number> {
  const opened = await openDriver(driver);
  try {
    let total = 0;
    for (const tenant of tenants) {
      const row = (await opened.read(tenant, check, [])) as Record<string, unknown>;
      total += Number(Object.values(row)[0]);
    }
    return total;
  } finally {
    await opened.close();
  }
}
