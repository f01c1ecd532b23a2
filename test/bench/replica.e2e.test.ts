import { describe, expect, it } from 'vitest';
import { CHILDREN, cpuSecondsOfThreads, MAIN_THREAD } from './measure/thread-usage.ts';
import { readOptions } from './options.ts';
import { cpuRows, type ReplicaFigures, ratioRows } from './replica/replica-tables.ts';

const FIGURES: readonly ReplicaFigures[] = [
  {
    ...{ load: 'insert-64', title: '64 callers', kind: 'off', asked: undefined, perSecond: 20_000, ratio: 1 },
    ...{ p50Ms: 2, p99Ms: 4, cpuUs: { writer: 8, main: 12 } },
  },
  {
    ...{ load: 'insert-64', title: '64 callers', kind: 'async', asked: 0.93, perSecond: 19_000, ratio: 0.95 },
    ...{ p50Ms: 2, p99Ms: 4, cpuUs: { writer: 8, main: 12, replicator: 5, signals: 0.001 } },
  },
];

describe('--replica', () => {
  it('judges the throughput against what is asked', () => {
    expect(ratioRows(FIGURES)[2]).toEqual([
      ...['', 'bucket, async', '19,000', '0.95x', '0.93x', '2 ms', '4 ms', 'pass'],
    ]);
    const slower = FIGURES.map(each => ({ ...each, ratio: 0.9 }));
    expect(ratioRows(slower).map(row => row.at(-1))).toEqual(['', '', 'FAIL']);
  });

  it('compares the CPU of an operation with that without a replica', () => {
    expect(cpuRows(FIGURES)).toEqual([
      ['CPU µs of an operation', 'replica', 'writer', 'main', 'replicator', 'all', 'off : all'],
      ['64 callers', 'no replica', '8', '12', '0', '20', '1x'],
      ['', 'bucket, async', '8', '12', '5', '25', '0.8x'],
    ]);
  });

  it('takes loads by their ids, and is a run of its own', () => {
    expect(readOptions(['--replica', '--only', 'rows-256'])).toMatchObject({
      ...{ replica: true, only: ['rows-256'] },
    });
    expect(() => readOptions(['--replica', '--only', 'mixed'])).toThrow('There is no load mixed');
    expect(() => readOptions(['--replica', '--scale'])).toThrow('two runs');
  });

  it.runIf(process.platform === 'linux')('sees the CPU of each thread', () => {
    const before = cpuSecondsOfThreads(process.pid).get(MAIN_THREAD)!;
    const until = performance.now() + 5_000;
    const used = () => cpuSecondsOfThreads(process.pid).get(MAIN_THREAD)! - before;
    while (used() < 0.03 && performance.now() < until);
    expect(used()).toBeGreaterThanOrEqual(0.03);
    expect(cpuSecondsOfThreads(process.pid).has(CHILDREN)).toBe(true);
  });
});
