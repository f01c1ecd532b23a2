import { formatNumber } from '../report/format.ts';
import type { ScaleReport } from './scale-report.ts';

/** A row of the table: what is wanted, and what was measured; undefined where its part did not run. */
type Row = readonly [need: string, figure: string | undefined];

/** The rows of the table of sizes; docs/operations.md quotes some. */
export function sizingRows({ parts }: ScaleReport): string[][] {
  const facts: Record<string, number> = Object.assign({}, ...parts.map(part => part.result.facts));
  const show = (name: string, unit: string, scale = 1): string | undefined => {
    const value = facts[name];
    return value === undefined ? undefined : `${formatNumber(value * scale)}${unit}`;
  };
  const tenants = show('tenants', '');
  const rows: Row[] = [
    ['CPU of the broker for a small write (64 tenants, a caller each)', show('brokerUsPerWrite', ' µs')],
    ['memory of the broker that has just started', show('brokerIdleMib', ' MiB')],
    [`memory of the broker beside ${tenants} tenants`, show('brokerMib', ' MiB')],
    ['memory of the broker for an open tenant', show('kibPerOpenTenant', ' KiB')],
    ['open files of the broker for an open tenant', show('fdsPerOpenTenant', '')],
    [
      'memory of Redis for a tenant that was written and is idle',
      show('redisBytesPerTenant', ' KiB', 1 / 1_024),
    ],
    [
      `writes a second of 64 callers anywhere in ${show('uniformTenants', '')} tenants`,
      show('uniformPerSecond', ''),
    ],
    ['memory of Redis for a small write that waits', show('redisBytesPerBacklogWrite', ' bytes')],
    [`writes a second out of a backlog of ${tenants} tenants`, show('backlogWritesPerSecond', '')],
    [`an update in a file of ${show('fileMib', ' MiB')}, against 1 MiB: CPU`, show('fileCostRatio', 'x')],
    ['connections to Redis of an SDK client', show('connectionsPerClient', '')],
    ['imported rows a second, of 24 imports at once', show('importRowsPerSecond', '')],
    ['memory of the gateway with 24 imports at once', show('importGatewayMib', ' MiB')],
    ['requests of others beside them, p99', show('importOthersP99Ms', ' ms')],
  ];
  return [
    ['what', 'measured'],
    ...rows.flatMap(([need, figure]) => (figure === undefined ? [] : [[need, figure]])),
  ];
}
