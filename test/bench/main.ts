import { Environment } from './environment.ts';
import { describeMachine, type Machine } from './machine.ts';
import { measureResources, type Resources } from './measure/resources.ts';
import { type BenchOptions, HELP, readOptions } from './options.ts';
import { isPostgresInstalled } from './peers/postgres-peer.ts';
import { runProfile } from './profile.ts';
import { runReplica } from './replica/run-replica.ts';
import { formatNumber } from './report/format.ts';
import { type Report, writeReport } from './report/write-report.ts';
import { runScenario, type ScenarioResult } from './run-scenario.ts';
import { runScale } from './scale/run-scale.ts';
import { NoResults } from './scale/scale-report.ts';
import { CONTESTANT_LABELS, SCENARIOS, type Scenario } from './scenarios.ts';
import { judge } from './targets.ts';

/** How long a patient run waits for a quiet machine, before each scenario. */
const PATIENCE_MS = 120_000;
/** Tenants of a quick run, where a full one has 2,000: making them is what takes time. */
const QUICK_MAX_TENANTS = 400;

let options: BenchOptions;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(2);
}
// Only an orderly exit ends the servers and processes that it has started.
for (const [signal, code] of [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.on(signal, () => process.exit(code));
if (options.help) process.stdout.write(HELP);
else if (options.scale) await scale();
else if (options.replica) await runReplica(options);
else if (options.profile !== undefined) await runProfile(options.profile, options);
else await bench();

async function scale(): Promise<void> {
  try {
    await runScale(options);
  } catch (error) {
    if (!(error instanceof NoResults)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 2;
  }
}

async function bench(): Promise<void> {
  const started = performance.now();
  const say = (line: string) => void process.stderr.write(`${line}\n`);

  const contestants = options.contestants.filter(name => name !== 'postgres' || !skipsPostgres());
  if (contestants.length < options.contestants.length) {
    say(
      'PostgreSQL is not installed, and a quick run does not wait for that: run `npm run bench -- --only insert-64`',
    );
  }
  const results: ScenarioResult[] = [];
  let machine: Machine;
  {
    await using environment = new Environment({ mains: options.mains });
    machine = describeMachine(await environment.folder('machine'));
    const { growing, overwriting } = machine.flushUs;
    say(
      `${machine.cpu}, ${machine.cores} cores; a flush of 4 KiB takes ${growing.toFixed(0)} µs where the file grows, ` +
        `else ${overwriting.toFixed(0)}`,
    );
    for (const scenario of SCENARIOS) {
      if (!isWanted(scenario.id)) continue;
      const result = await runScenario(fitted(scenario), environment, options.measure, {
        contestants,
        patienceMs: options.patient ? PATIENCE_MS : 0,
      });
      results.push(result);
      const figures = result.figures.map(
        ({ contestant, perSecond }) => `${CONTESTANT_LABELS[contestant]} ${formatNumber(perSecond)}`,
      );
      const others = (result.othersBefore * 100).toFixed(0);
      say(`${scenario.id}: ${figures.join(' · ')} ops/s (others used ${others} % of the machine before)`);
    }
  }
  const resources = isWanted('resources') ? await measureResourcesNow() : undefined;
  const report: Report = {
    machine,
    quick: options.quick,
    partial: options.only.length > 0 || contestants.length < Object.keys(CONTESTANT_LABELS).length,
    measure: options.measure,
    seconds: Math.round((performance.now() - started) / 1_000),
    finishedAt: new Date().toISOString(),
    targets: judge(results, resources),
    results,
    resources,
  };
  await writeReport(report, options.json);
}

function skipsPostgres(): boolean {
  return options.quick && !isPostgresInstalled();
}

function isWanted(id: string): boolean {
  return options.only.length === 0 || options.only.some(wanted => matches(id, wanted));
}

/** An id, or the beginning of several. */
function matches(id: string, wanted: string): boolean {
  return id === wanted || (id.startsWith(wanted) && !SCENARIOS.some(scenario => scenario.id === wanted));
}

function fitted(scenario: Scenario): Scenario {
  if (!options.quick || scenario.tenants <= QUICK_MAX_TENANTS) return scenario;
  const title = scenario.title.replace('2,000', String(QUICK_MAX_TENANTS));
  return { ...scenario, title, tenants: QUICK_MAX_TENANTS };
}

function measureResourcesNow(): Promise<Resources> {
  return measureResources(
    { mains: options.mains },
    options.quick ? { touchedTenants: 520, coldTenants: 20 } : { touchedTenants: 2_000, coldTenants: 100 },
  );
}
