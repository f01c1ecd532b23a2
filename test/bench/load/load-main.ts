import { cpuSecondsOfAll } from '../measure/process-usage.ts';
import { type Caller, WORKLOADS, type Workload } from '../workloads.ts';
import { type Driver, openDriver } from './driver.ts';
import { Latencies } from './latencies.ts';
import type { Command, LoadRun, LoadSpec } from './load-messages.ts';
import { createRandom, createZipf } from './random.ts';
import { serveCommands } from './serve-commands.ts';

/*
 * A load process: callers in a closed loop, each waits for its answer before it sends its next operation. The loop is
 * the same for every system; the driver is all that differs.
 */

const spec = JSON.parse(process.argv[2]!) as LoadSpec;
const workload: Workload = WORKLOADS[spec.workload];
/** Tenants that are made at the same time. */
const SET_UP_CONCURRENCY = 32;
const SEED_STATEMENTS = 500;
/** A driver that answers at once must not keep timers from firing for ever. */
const MAX_TURNS_WITHOUT_PAUSE = 200;

let driver: Driver;
const callers: Caller[] = [];

serveCommands({
  setUp: async () => {
    driver = await openDriver(spec.driver);
    const waiting = [...spec.tenants];
    await Promise.all(
      Array.from({ length: SET_UP_CONCURRENCY }, async () => {
        for (let tenant = waiting.pop(); tenant !== undefined; tenant = waiting.pop())
          await makeTenant(tenant);
      }),
    );
    return driver.proveDurability(spec.tenants[0]!);
  },
  run: async command => ({ ok: true, run: await run(command) }),
  close: () => driver.close(),
});

async function makeTenant(tenant: string): Promise<void> {
  await driver.script(tenant, workload.schema[spec.schema]);
  const seed = workload.seed ?? [];
  for (let start = 0; start < seed.length; start += SEED_STATEMENTS) {
    await driver.transaction(tenant, seed.slice(start, start + SEED_STATEMENTS));
  }
}

/** Each continues where it was in the run before. */
function firstCallers(count: number): readonly Caller[] {
  for (let index = callers.length; index < count; index++) {
    callers.push({ index, random: createRandom(spec.seed + index), turn: 0 });
  }
  return callers.slice(0, count);
}

/** Operations of all callers so far. */
let turns = 0;

/** How a caller chooses the tenant of its next operation: an index. */
function createChoice({ index, random }: Caller): () => number {
  const { length } = spec.tenants;
  switch (spec.choice) {
    case 'own':
      return () => index % length;
    case 'zipf':
      return createZipf(length, random);
    case 'turns':
      return () => turns++ % length;
    case 'uniform':
      return () => Math.floor(random() * length);
  }
}

async function run({
  warmupMs,
  measureMs,
  pids,
  callers: count = spec.callers,
}: Extract<Command, { do: 'run' }>): Promise<LoadRun> {
  const latencies = new Latencies();
  const roles = { ...pids, client: process.pid };
  let measuring = false;
  let stopping = false;
  let operations = 0;
  let rows = 0;
  let allRows = 0;

  const call = async (caller: Caller) => {
    const choose = createChoice(caller);
    for (let done = 0; !stopping; ) {
      const tenant = spec.tenants[choose()]!;
      caller.turn++;
      const started = performance.now();
      const written = await workload.perform(driver, tenant, caller);
      allRows += written;
      if (measuring) {
        operations++;
        rows += written;
        latencies.add(performance.now() - started);
      }
      if (++done % MAX_TURNS_WITHOUT_PAUSE === 0) await new Promise(resolve => setImmediate(resolve));
    }
  };
  // A caller that fails stops them all.
  const calling = Promise.all(firstCallers(count).map(caller => call(caller))).finally(() => {
    stopping = true;
  });

  await Promise.race([pause(warmupMs), calling]);
  const cpuBefore = cpuSecondsOfAll(roles);
  const begun = performance.now();
  measuring = true;
  await Promise.race([pause(measureMs), calling]);
  measuring = false;
  const elapsedMs = performance.now() - begun;
  const cpuAfter = cpuSecondsOfAll(roles);
  stopping = true;
  await calling;
  const cpuSeconds = Object.fromEntries(
    Object.entries(cpuAfter).map(([role, seconds]) => [role, seconds - cpuBefore[role]!]),
  );
  return { operations, rows, elapsedMs, allRows, latencies: latencies.toPairs(), cpuSeconds };
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}
