import { describe, expect, it } from 'vitest';
import { pickLargest } from './pick-largest.ts';
import { TenantLoad, TenantLoads } from './tenant-load.ts';

describe('pickLargest', () => {
  it('picks the items that sorting all would put first', () => {
    const items = Array.from({ length: 500 }, (_, index) => (index * 7_919) % 503);
    expect(pickLargest(items, 10, item => item)).toEqual(items.toSorted((a, b) => b - a).slice(0, 10));
    expect(pickLargest([3, 0, 5], 10, item => item)).toEqual([5, 3]);
    expect(pickLargest([], 10, item => item)).toEqual([]);
  });
});

describe('TenantLoads', () => {
  const NOW = 1_000_000;

  function setUp(count: number) {
    const loads = new TenantLoads(0);
    const tenants = Array.from({ length: count }, (_, index) => {
      const source = {
        tenant: `t${index}`,
        waiting: index,
        held: 1,
        oldestAt: undefined as number | undefined,
        asleep: true,
      };
      const load = new TenantLoad(source);
      loads.list(load);
      return { source, load };
    });
    return { loads, tenants };
  }

  it('distinguishes the tenants of each kind', () => {
    const { loads, tenants } = setUp(3_000);
    tenants[7]!.load.add(900, 0, 3, 4, 100);
    tenants[8]!.load.add(1, 1, 450, 500, 9_000);
    tenants[9]!.source.oldestAt = NOW - 60_000;
    const figures = loads.read(1_000, NOW);
    expect(figures.active).toBe(3_000);
    expect(figures.busiest.map(row => row.tenant)).toEqual(['t7', 't8']);
    expect(figures.slowest[0]).toMatchObject({ tenant: 't8', meanBatchMs: 450, busyShare: 0.45 });
    expect(figures.delayed[0]).toMatchObject({ tenant: 't9', maxDelayMs: 60_000 });
    expect(figures.deepest.map(row => row.queuedJobs)).toEqual([
      3_000, 2_999, 2_998, 2_997, 2_996, 2_995, 2_994, 2_993, 2_992, 2_991,
    ]);
    expect(figures.largestWals[0]).toMatchObject({ tenant: 't8', walBytes: 9_000 });
    expect(figures.writesPerSecond).toBe(901);
    expect(figures.heldJobs).toBe(3_000);
  });

  it('looks back one to two slots, and forgets tenants that have been at rest for longer', () => {
    const { loads, tenants } = setUp(1);
    const { source, load } = tenants[0]!;
    load.add(100, 0, 10, 0, 0);
    expect(loads.read(10_000, NOW).busiest[0]?.writesPerSecond).toBe(10);
    expect(loads.read(19_000, NOW).busiest[0]?.writesPerSecond).toBe(5.26);
    loads.read(20_000, NOW); // the slot with the work is older than the one before
    expect(loads.read(25_000, NOW).busiest).toEqual([]);
    source.asleep = false;
    loads.read(30_000, NOW);
    expect(loads.read(30_001, NOW).active).toBe(1); // it has jobs still
    source.asleep = true;
    loads.read(40_000, NOW);
    expect(load.listed).toBe(false);
    expect(loads.read(40_001, NOW).active).toBe(0);
  });
});
