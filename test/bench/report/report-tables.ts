import type { Resources } from '../measure/resources.ts';
import type { Figures, ScenarioResult } from '../run-scenario.ts';
import { CONTESTANT_LABELS } from '../scenarios.ts';
import type { TargetResult } from '../targets.ts';
import { formatMs, formatNumber, formatRatio, formatVerdict } from './format.ts';

/** One row per contestant and scenario; `ratio` is ours over theirs. */
export function scenarioRows(results: readonly ScenarioResult[]): string[][] {
  const head = [
    'scenario',
    'who',
    'ops/s',
    'quartiles',
    'p50',
    'p95',
    'p99',
    'ours / theirs',
    'CPU s per 1,000 ops',
  ];
  const rows = results.flatMap(({ scenario, figures }) => {
    const ours = figures.find(({ contestant }) => contestant === 'onewriter' || contestant === 'gateway');
    return figures.map((one, index) => [
      index === 0 ? scenario.title : '',
      CONTESTANT_LABELS[one.contestant],
      formatNumber(one.perSecond),
      one.quartiles.map(formatNumber).join(' to '),
      formatMs(one.p50Ms),
      formatMs(one.p95Ms),
      formatMs(one.p99Ms),
      one === ours || ours === undefined ? '' : formatRatio(ours.perSecond / one.perSecond),
      formatCpu(one),
    ]);
  });
  return [head, ...rows];
}

function formatCpu({ cpuPerThousand, refused }: Figures): string {
  const parts = Object.entries(cpuPerThousand).map(([role, seconds]) => `${role} ${formatNumber(seconds)}`);
  if (refused > 0) parts.push(`${formatNumber(refused)} operations refused (SQLITE_BUSY)`);
  return parts.join(', ');
}

/** One row per target. */
export function targetRows(targets: readonly TargetResult[]): string[][] {
  return [
    ['target', 'asked', 'prototype', 'measured', ''],
    ...targets.map(({ what, target, prototype, text, passed }) => [
      ...[what, target, prototype, text, formatVerdict(passed)],
    ]),
  ];
}

/** What Onewriter needs besides time. */
export function resourceRows(resources: Resources): string[][] {
  const cold = ({ p50Ms, p95Ms }: { p50Ms: number; p95Ms: number }) =>
    `${formatMs(p50Ms)} (p95 ${formatMs(p95Ms)})`;
  return [
    ['what', 'figure'],
    [
      `first write of a new tenant (file, tables), ${resources.coldFirstWrite.tenants} tenants`,
      cold(resources.coldFirstWrite),
    ],
    ['the same with the single-pod proxy', cold(resources.coldFirstWriteProxy)],
    ...resources.redisConnections.map(({ tenants, connections }) => [
      `Redis connections of the broker after writes to ${formatNumber(tenants)} tenants`,
      String(connections),
    ]),
    ['broker memory, idle', `${formatNumber(resources.brokerIdleMib)} MiB`],
    [
      `broker memory per open tenant (${resources.openTenants} open)`,
      `${formatNumber(resources.kibPerOpenTenant)} KiB`,
    ],
    [
      `broker memory, ${formatNumber(resources.touchedTenants)} tenants touched, ${formatNumber(resources.openThen)} open`,
      `${formatNumber(resources.brokerMib)} MiB`,
    ],
    [
      'Redis memory of a queued write, alone in its job',
      `${formatNumber(resources.redisBytesPerLoneWrite)} bytes`,
    ],
    [
      `Redis memory of a queued write, ${formatNumber(resources.writesPerGatheredJob)} in a job`,
      `${formatNumber(resources.redisBytesPerGatheredWrite)} bytes`,
    ],
  ];
}
