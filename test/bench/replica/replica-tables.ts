import { formatMs, formatNumber, formatRatio, formatVerdict } from '../report/format.ts';
import { REPLICA_LABELS, type ReplicaKind } from './replica-loads.ts';

/** What one load did against one broker; medians over the turns. */
export interface ReplicaFigures {
  readonly load: string;
  readonly title: string;
  readonly kind: ReplicaKind;
  readonly perSecond: number;
  /** To the broker without a replica. */
  readonly ratio: number;
  readonly asked: number | undefined;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU microseconds of an operation, by thread of the broker and by process. */
  readonly cpuUs: Readonly<Record<string, number>>;
}

export function ratioRows(figures: readonly ReplicaFigures[]): string[][] {
  return [
    ['load', 'replica', 'ops/s', 'ratio', 'asked', 'p50', 'p99', ''],
    ...figures.map(({ title, kind, perSecond, ratio, asked, p50Ms, p99Ms }) => [
      kind === 'off' ? title : '',
      ...[REPLICA_LABELS[kind], formatNumber(perSecond), formatRatio(ratio)],
      asked === undefined ? '-' : formatRatio(asked),
      ...[formatMs(p50Ms), formatMs(p99Ms)],
      asked === undefined ? '' : formatVerdict(ratio >= asked),
    ]),
  ];
}

/** Columns with a smaller part of all are left out. */
const SHOWN = 0.01;

/**
 * CPU of an operation: a column for each thread of a broker, and for Redis, the store and the client. A busy machine changes it less
 * than it changes the throughput.
 */
export function cpuRows(figures: readonly ReplicaFigures[]): string[][] {
  const isShown = (name: string) => figures.some(({ cpuUs }) => (cpuUs[name] ?? 0) >= SHOWN * allOf(cpuUs));
  const names = [...new Set(figures.flatMap(({ cpuUs }) => Object.keys(cpuUs)))].filter(isShown);
  const baseOf = (load: string) => figures.find(each => each.load === load && each.kind === 'off');
  return [
    ['CPU µs of an operation', 'replica', ...names, 'all', 'off : all'],
    ...figures.map(({ load, title, kind, cpuUs }) => [
      kind === 'off' ? title : '',
      REPLICA_LABELS[kind],
      ...names.map(name => formatNumber(cpuUs[name] ?? 0)),
      formatNumber(allOf(cpuUs)),
      formatRatio(allOf(baseOf(load)?.cpuUs ?? {}) / allOf(cpuUs)),
    ]),
  ];
}

function allOf(cpuUs: ReplicaFigures['cpuUs']): number {
  return Object.values(cpuUs).reduce((sum, us) => sum + us, 0);
}
