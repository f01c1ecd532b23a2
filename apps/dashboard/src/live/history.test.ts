import type { BrokerStatus } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { HISTORY_LENGTH, History } from './history.ts';

function status(at: number, part: { writes?: object; depth?: number; history?: object } = {}): BrokerStatus {
  return {
    at,
    writes: { perSecond: 0, failedPerSecond: 0, commitP50Ms: null, commitP99Ms: null, ...part.writes },
    queue: { depth: part.depth ?? 0 },
    history: {
      everyMs: 5_000,
      endsAt: at,
      writesPerSecond: [],
      commitP50Ms: [],
      commitP99Ms: [],
      depth: [],
      ...part.history,
    },
  } as unknown as BrokerStatus;
}

describe('History', () => {
  it('keeps the worst of a slot and the newest rate', () => {
    const history = new History();
    history.add(status(100_000, { depth: 9, writes: { perSecond: 5, commitP99Ms: 80 } }));
    history.add(status(101_000, { depth: 2, writes: { perSecond: 7, commitP99Ms: 3 } }));
    const { depth, p99, writes } = history.columns(101_500);
    expect([depth.at(-1), p99.at(-1), writes.at(-1)]).toEqual([9, 80, 7]);
  });

  it('fills what it has not seen from the leader’s own history', () => {
    const history = new History();
    const seen = {
      writesPerSecond: [1, 2, 3],
      commitP50Ms: [1, null, 1],
      commitP99Ms: [5, null, 6],
      depth: [0, 4, 0],
    };
    history.add(status(100_000, { history: seen, writes: { perSecond: 3 } }));
    const { writes, p99, depth } = history.columns(100_000);
    expect(writes.slice(-3)).toEqual([1, 2, 3]);
    expect(p99.slice(-3)).toEqual([5, null, 6]);
    expect(depth.slice(-3)).toEqual([0, 4, 0]);
  });

  it('shows at least five minutes, forgets after fifteen, and has gaps where nothing was reported', () => {
    const history = new History();
    history.add(status(0, { depth: 1 }));
    expect(history.columns(10_000).depth).toHaveLength(60);
    expect(history.columns(10_000).depth.slice(-3)).toEqual([1, null, null]);
    for (let at = 0; at < 3_600_000; at += 1_000) history.add(status(at, { depth: at / 1_000 }));
    const { depth } = history.columns(3_599_000);
    expect(depth).toHaveLength(HISTORY_LENGTH);
    expect(depth[0]).toBe(2_704);
  });
});
