import { parseArgs } from 'node:util';
import { REPLICA_LOADS } from './replica/replica-loads.ts';
import type { MeasureOptions } from './run-scenario.ts';
import { SCALE_PARTS } from './scale/parts.ts';
import { CONTESTANT_LABELS, type ContestantName, SCENARIOS } from './scenarios.ts';

/** What a profile can be taken of. */
export const PROFILES = ['broker', 'client', 'gateway', 'redis'] as const;

/** See {@link PROFILES}. */
export type ProfileTarget = (typeof PROFILES)[number];

/** What the command line asks for. */
export interface BenchOptions {
  readonly measure: MeasureOptions;
  readonly quick: boolean;
  readonly json: boolean;
  /** Ids of scenarios, or their beginnings; `resources` is what is not a load. Empty: all. */
  readonly only: readonly string[];
  readonly contestants: readonly ContestantName[];
  readonly profile: ProfileTarget | undefined;
  readonly mains: Readonly<Record<'broker' | 'gateway', string | undefined>>;
  /** Wait before each scenario until the machine is otherwise idle, for two minutes at most. */
  readonly patient: boolean;
  /** What units cost as their number grows, instead of the scenarios. */
  readonly scale: boolean;
  /** What replication costs the whole stack, instead of the scenarios. */
  readonly replica: boolean;
  /** Only the table of sizes, from the last run of `scale`. */
  readonly sizing: boolean;
  readonly help: boolean;
}

/** Measured in any case. */
const OURS: readonly ContestantName[] = ['onewriter', 'owner', 'beside-owner', 'gateway'];

/** Medians of 5. */
const FULL: MeasureOptions = { rounds: 5, settleMs: 10_000, warmupMs: 500, measureMs: 2_000 };
const QUICK: MeasureOptions = { rounds: 3, settleMs: 200, warmupMs: 120, measureMs: 300 };
/** A turn has at least one interval of the replica. */
const FULL_REPLICA: MeasureOptions = { rounds: 5, settleMs: 5_000, warmupMs: 300, measureMs: 3_000 };
const QUICK_REPLICA: MeasureOptions = { rounds: 3, settleMs: 600, warmupMs: 100, measureMs: 1_000 };

/** What --help prints. */
export const HELP = `npm run bench -- [options]

  --quick               shorter runs and fewer tenants, under two minutes in all; the figures are rough
  --only <ids>          scenarios by id or beginning of it, separated by commas; \`resources\` is memory and connections
  --peers <names>       contestants besides ours, separated by commas; default: all
  --rounds <n>          turns each contestant takes (default ${FULL.rounds})
  --seconds <s>         length of a measured turn (default ${FULL.measureMs / 1_000})
  --patient             wait before each scenario until the machine is otherwise idle, two minutes at most
  --json                the results as JSON on standard output, nothing else
  --profile <process>   a CPU profile of ${PROFILES.join(', ')} under the scenario of --only (default insert-64)
  --scale               what a write, a tenant and a row cost as their number grows, instead of the scenarios; --only takes
                        ${SCALE_PARTS.map(({ id }) => id).join(', ')}; bounds: BENCH_SCALE_TENANTS, BENCH_SCALE_FILE_MIB, BENCH_SCALE_IMPORT_ROWS
  --replica             what replication to a bucket and to a folder costs the whole stack; --only takes
                        ${REPLICA_LOADS.map(({ id }) => id).join(', ')}
  --sizing              with --scale: the table of sizes, from the last run
  --broker <main.js>    another build of the broker instead of this one; --gateway as well

Scenarios: ${SCENARIOS.map(scenario => scenario.id).join(', ')}, resources
Contestants: ${Object.keys(CONTESTANT_LABELS).join(', ')}
`;

/** Reads the command line. @throws TypeError with a message for people */
export function readOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      patient: { type: 'boolean', default: false },
      scale: { type: 'boolean', default: false },
      replica: { type: 'boolean', default: false },
      sizing: { type: 'boolean', default: false },
      only: { type: 'string' },
      peers: { type: 'string' },
      profile: { type: 'string' },
      broker: { type: 'string' },
      gateway: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
    },
  });
  if (values.scale && values.replica) throw new TypeError('--scale and --replica are two runs.');
  const [full, quick] = values.replica ? [FULL_REPLICA, QUICK_REPLICA] : [FULL, QUICK];
  const base = values.quick ? quick : full;
  const only = listOf(values.only);
  for (const id of only) assertIsThere(id, values);
  if (values.sizing && !values.scale) throw new TypeError('--sizing goes with --scale.');
  const all = Object.keys(CONTESTANT_LABELS) as ContestantName[];
  const peers = listOf(values.peers);
  for (const peer of peers) assertOneOf(all, peer, 'contestant', all.includes(peer as ContestantName));
  if (values.profile !== undefined) {
    assertOneOf(PROFILES, values.profile, 'process', PROFILES.includes(values.profile as ProfileTarget));
  }
  return {
    measure: {
      rounds: positive(values.rounds, '--rounds') ?? base.rounds,
      settleMs: base.settleMs,
      warmupMs: base.warmupMs,
      measureMs: (positive(values.seconds, '--seconds') ?? base.measureMs / 1_000) * 1_000,
    },
    ...{ quick: values.quick, json: values.json, help: values.help, patient: values.patient, only },
    ...{ scale: values.scale, replica: values.replica, sizing: values.sizing },
    contestants: peers.length === 0 ? all : all.filter(it => OURS.includes(it) || peers.includes(it)),
    profile: values.profile as ProfileTarget | undefined,
    mains: { broker: values.broker, gateway: values.gateway },
  };
}

/** Scenarios may be named by their beginning. */
function assertIsThere(id: string, { scale, replica }: { scale: boolean; replica: boolean }): void {
  if (scale || replica) {
    const ids = (scale ? SCALE_PARTS : REPLICA_LOADS).map(part => part.id);
    assertOneOf(ids, id, scale ? 'part' : 'load', ids.includes(id));
    return;
  }
  const ids = [...SCENARIOS.map(scenario => scenario.id), 'resources'];
  assertOneOf(
    ids,
    id,
    'scenario',
    ids.some(it => it.startsWith(id)),
  );
}

function listOf(value: string | undefined): string[] {
  return value?.split(',').filter(Boolean) ?? [];
}

function assertOneOf(known: readonly string[], value: string, what: string, found: boolean): void {
  if (!found) throw new TypeError(`There is no ${what} ${value}; there are ${known.join(', ')}.`);
}

function positive(value: string | undefined, name: string): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!(number > 0)) throw new TypeError(`${name} takes a number above 0.`);
  return number;
}
