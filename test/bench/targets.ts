import type { Resources } from './measure/resources.ts';
import type { Figures, ScenarioResult } from './run-scenario.ts';
import type { ContestantName } from './scenarios.ts';

/** A figure that must reach a bound. */
export interface TargetResult {
  readonly what: string;
  /** The bound as text. */
  readonly target: string;
  /** What the prototype reached. */
  readonly prototype: string;
  /** What was measured; undefined where it was not run. */
  readonly measured: number | undefined;
  readonly text: string;
  readonly passed: boolean | undefined;
}

type Value = 'perSecond' | 'p50Ms';

interface RatioTarget {
  readonly what: string;
  readonly scenario: string;
  readonly ours: ContestantName;
  readonly peer: ContestantName;
  readonly value: Value;
  readonly atLeast?: number;
  readonly atMost?: number;
  readonly prototype: string;
  /** Show as a percentage. */
  readonly percent?: boolean;
}

const THROUGHPUT = { ours: 'onewriter', peer: 'proxy', value: 'perSecond' } as const;

const RATIO_TARGETS: readonly RatioTarget[] = [
  {
    ...{ what: 'one tenant, 1 caller: p50 latency against the proxy', scenario: 'insert-1' },
    ...{ ours: 'onewriter', peer: 'proxy', value: 'p50Ms', atMost: 1.2, prototype: '2.2x' },
  },
  {
    ...THROUGHPUT,
    ...{
      what: '64 callers: writes/s against the proxy',
      scenario: 'insert-64',
      atLeast: 16,
      prototype: '11.7x',
    },
  },
  {
    ...THROUGHPUT,
    ...{
      what: '256 callers: writes/s against the proxy',
      scenario: 'insert-256',
      atLeast: 40,
      prototype: '27x',
    },
  },
  {
    ...{ what: '256 callers: against 100 rows per commit in process', scenario: 'insert-256' },
    ...{
      ours: 'onewriter',
      peer: 'sqlite-100',
      value: 'perSecond',
      atLeast: 0.35,
      prototype: '20 %',
      percent: true,
    },
  },
  {
    ...THROUGHPUT,
    ...{
      what: '100 tenants x 4: against the proxy',
      scenario: 'tenants-100x4',
      atLeast: 8,
      prototype: '4.9x',
    },
  },
  {
    ...THROUGHPUT,
    ...{
      what: '400 tenants x 1: against the proxy',
      scenario: 'tenants-400x1',
      atLeast: 3,
      prototype: '1.4x',
    },
  },
  {
    ...THROUGHPUT,
    ...{
      what: "kanban drag, 16 callers: against the proxy's /transaction",
      scenario: 'kanban-drag',
      atLeast: 3,
    },
    prototype: '-',
  },
  {
    ...{ what: '64 callers on one tenant: against PostgreSQL', scenario: 'insert-64', prototype: '-' },
    ...{ ours: 'onewriter', peer: 'postgres', value: 'perSecond', atLeast: 3 },
  },
  {
    ...{ what: 'get() through the SDK against bare better-sqlite3', scenario: 'get', prototype: '-' },
    ...{ ours: 'onewriter', peer: 'sqlite-1', value: 'perSecond', atLeast: 0.85, percent: true },
  },
  {
    ...{ what: 'gateway POST /query writes, 64 connections: against the proxy', scenario: 'gateway-insert' },
    ...{ ours: 'gateway', peer: 'proxy', value: 'perSecond', atLeast: 4, prototype: '-' },
  },
  {
    ...{ what: 'gateway reads, 64 connections: against the proxy', scenario: 'gateway-read' },
    ...{ ours: 'gateway', peer: 'proxy', value: 'perSecond', atLeast: 1.5, prototype: '-' },
  },
  {
    ...{ what: 'reads through the owner, 64 callers: against the proxy', scenario: 'owner-read' },
    ...{ ours: 'owner', peer: 'proxy', value: 'perSecond', atLeast: 1, prototype: '-' },
  },
  {
    ...{ what: 'writes beside 64 callers that read through the owner', scenario: 'owner-beside' },
    ...{ ours: 'beside-owner', peer: 'onewriter', value: 'perSecond', atLeast: 0.85, percent: true },
    prototype: '-',
  },
];

const MAX_REDIS_CONNECTIONS = 5;
const MAX_BROKER_MIB = 400;

/** Compares what was measured with what was promised. */
export function judge(
  results: readonly ScenarioResult[],
  resources: Resources | undefined,
): readonly TargetResult[] {
  return [...RATIO_TARGETS.map(target => judgeRatio(target, results)), ...judgeResources(resources)];
}

/** One contestant's figures in a scenario, if both were run. */
export function figuresOf(
  results: readonly ScenarioResult[],
  scenario: string,
  contestant: ContestantName,
): Figures | undefined {
  return results
    .find(result => result.scenario.id === scenario)
    ?.figures.find(figures => figures.contestant === contestant);
}

function judgeRatio(target: RatioTarget, results: readonly ScenarioResult[]): TargetResult {
  const { what, prototype, atLeast, atMost, percent } = target;
  const format = (ratio: number) => (percent ? `${(ratio * 100).toFixed(0)} %` : `${ratio.toPrecision(3)}x`);
  const bound = atLeast === undefined ? `at most ${format(atMost!)}` : `at least ${format(atLeast)}`;
  const ours = figuresOf(results, target.scenario, target.ours)?.[target.value];
  const peer = figuresOf(results, target.scenario, target.peer)?.[target.value];
  if (ours === undefined || peer === undefined) return notRun(what, bound, prototype);
  const measured = ours / peer;
  const passed = atLeast === undefined ? measured <= atMost! : measured >= atLeast;
  return { what, target: bound, prototype, measured, text: format(measured), passed };
}

function judgeResources(resources: Resources | undefined): TargetResult[] {
  const what = 'Redis connections of the broker, 10 to 2,000 tenants';
  const target = `constant, at most ${MAX_REDIS_CONNECTIONS}`;
  const memoryTarget = `at most ${MAX_BROKER_MIB} MiB`;
  if (resources === undefined) {
    return [
      notRun(what, target, '-'),
      notRun('broker memory, 2,000 tenants touched, 500 open', memoryTarget, '-'),
    ];
  }
  const counts = resources.redisConnections.map(({ connections }) => connections);
  const measured = Math.max(...counts);
  return [
    {
      what: `Redis connections of the broker, ${resources.redisConnections.map(({ tenants }) => tenants).join(' to ')} tenants`,
      ...{ target, prototype: '-', measured, text: counts.join(' to ') },
      passed: new Set(counts).size === 1 && measured <= MAX_REDIS_CONNECTIONS,
    },
    {
      what: `broker memory, ${resources.touchedTenants} tenants touched, ${resources.openThen} open`,
      ...{ target: memoryTarget, prototype: '-', measured: resources.brokerMib },
      text: `${resources.brokerMib.toFixed(0)} MiB`,
      passed: resources.brokerMib <= MAX_BROKER_MIB,
    },
  ];
}

function notRun(what: string, target: string, prototype: string): TargetResult {
  return { what, target, prototype, measured: undefined, text: 'not run', passed: undefined };
}
