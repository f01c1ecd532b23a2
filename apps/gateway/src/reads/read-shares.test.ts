import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ReadShares, type SharedTask } from './read-shares.ts';

interface Process {
  readonly name: string;
  free: boolean;
  tenant: string | undefined;
  owner?: string | undefined;
  busySince: number;
  isBackground: boolean;
  cpuMs(): number;
  makeBackground(): void;
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Processes that run, of so many that there may be, and the tenants that keep a transaction in one. */
function open(maxProcesses: number, names: readonly string[], kept: Readonly<Record<string, string>> = {}) {
  const processes = names.map(
    (name): Process => ({
      ...{ name, free: true, tenant: undefined, busySince: 0, isBackground: false },
      // Half of the clock: the other half it waits for a CPU.
      cpuMs: () => performance.now() / 2,
      makeBackground() {
        this.isBackground = true;
      },
    }),
  );
  const shares = new ReadShares<Process>(maxProcesses, new Set(processes), {
    has: ({ name }) => kept[name] !== undefined,
    hasOther: ({ name }, tenant) => kept[name] !== undefined && kept[name] !== tenant,
  });
  const begin = (process: Process, tenant: string) => {
    const end = shares.begin(process, tenant);
    Object.assign(process, { free: false, tenant, busySince: performance.now() });
    return () => {
      end();
      Object.assign(process, { free: true, tenant: undefined });
    };
  };
  /** The tenant has had a read that took so long. */
  const read = (tenant: string, ms: number) => {
    const end = shares.begin({ ...processes[0]!, makeBackground() {} }, tenant);
    vi.advanceTimersByTime(ms);
    end();
  };
  /** Names of the processes in which it may begin. */
  const mayBegin = (tenant: string, more: Partial<SharedTask<Process>> = {}) =>
    processes
      .filter(({ free }) => free)
      .filter(process =>
        shares.mayBegin(
          { tenant, pinned: undefined, mayStayOpen: false, ...more },
          process,
          performance.now(),
        ),
      )
      .map(({ name }) => name);
  return { shares, processes, begin, read, mayBegin };
}

describe('ReadShares', () => {
  it('makes a process background when its read is long, or its tenant has had a long one', () => {
    const { processes, begin, shares } = open(2, ['a', 'b']);
    const [a, b] = processes as [Process, Process];
    const end = begin(a, 'long');
    vi.advanceTimersByTime(590);
    expect([a.isBackground, shares.lacksForeground]).toEqual([false, false]);
    vi.advanceTimersByTime(40);
    expect([a.isBackground, shares.lacksForeground]).toEqual([true, false]);
    end();
    begin(b, 'short')();
    vi.advanceTimersByTime(1_000);
    expect(b.isBackground).toBe(false);
    // It is remembered for a while: the next one is background sooner.
    begin(b, 'long');
    vi.advanceTimersByTime(100);
    expect([b.isBackground, shares.lacksForeground]).toEqual([true, true]);
  });

  it('takes many short reads for a long one', () => {
    const { processes, begin, read, mayBegin } = open(3, ['a', 'b']);
    processes[0]!.makeBackground();
    for (let count = 0; count < 7; count++) read('many', 400);
    expect(mayBegin('many')).toEqual(['a', 'b']);
    for (let count = 0; count < 3; count++) read('many', 400);
    expect(mayBegin('many')).toEqual(['a']);
    // Where there is no other, that one becomes one.
    processes[0]!.free = false;
    expect(mayBegin('many')).toEqual(['b']);
    begin(processes[1]!, 'many');
    expect(processes[1]!.isBackground).toBe(true);
  });

  it('lets long reads prefer a background process, and short ones another', () => {
    const { processes, read, mayBegin, shares } = open(3, ['a', 'b']);
    read('long', 700);
    expect(mayBegin('long')).toEqual(['a', 'b']);
    processes[0]!.makeBackground();
    expect(mayBegin('long')).toEqual(['a']);
    expect(mayBegin('short')).toEqual(['a', 'b']);
    expect(shares.inOrder().map(({ name }) => name)).toEqual(['b', 'a']);
    processes[0]!.free = false;
    expect(mayBegin('long')).toEqual(['b']);
  });

  it('never gives all processes to one tenant, nor to all with long reads together', () => {
    const { processes, begin, read, mayBegin } = open(3, ['a', 'b', 'c']);
    for (const tenant of ['x', 'y', 'z']) read(tenant, 1_000);
    begin(processes[0]!, 'x');
    expect(mayBegin('z')).toEqual(['b', 'c']);
    begin(processes[1]!, 'y');
    expect(mayBegin('z')).toEqual([]);
    expect(mayBegin('short')).toEqual(['c']);
    // It is forgotten after a while; a read that still runs is not.
    vi.advanceTimersByTime(10_000);
    expect(mayBegin('z')).toEqual(['c']);
    begin(processes[2]!, 'z');
    const { processes: two, begin: beginOf, mayBegin: mayBeginOf } = open(2, ['a', 'b']);
    beginOf(two[0]!, 'x');
    expect(mayBeginOf('x')).toEqual([]);
  });

  it('never gives all processes to one token with its tenants', () => {
    const { processes, begin, mayBegin } = open(3, ['a', 'b', 'c']);
    for (const [index, tenant] of ['x', 'y'].entries()) {
      begin(processes[index]!, tenant);
      processes[index]!.owner = 'token 1';
    }
    expect(mayBegin('z', { owner: 'token 1' })).toEqual([]);
    expect(mayBegin('z', { owner: 'token 2' })).toEqual(['c']);
    expect(mayBegin('z')).toEqual(['c']);
  });

  it('orders tenants by the time that they had lately, with the reads that run', () => {
    const { processes, begin, read, shares } = open(3, ['a', 'b', 'c']);
    read('much', 300);
    read('little', 20);
    const usedMs = (tenant: string) => shares.usedMs(tenant, performance.now());
    expect(usedMs('much')).toBeGreaterThan(usedMs('little'));
    expect(usedMs('new')).toBe(0);
    begin(processes[0]!, 'new');
    vi.advanceTimersByTime(1_000);
    expect(usedMs('new')).toBeGreaterThan(usedMs('much'));
  });

  it('lets no transaction of another tenant wait for a read that may take long', () => {
    const { processes, begin, read, mayBegin } = open(3, ['a', 'b', 'c'], { a: 'keeper' });
    expect(mayBegin('keeper')).toEqual(['a', 'b', 'c']);
    // Of a tenant that is not known, as long as there is another process.
    expect(mayBegin('new')).toEqual(['b', 'c']);
    const ends = [processes[1]!, processes[2]!].map(process => begin(process, 'other'));
    expect(mayBegin('new')).toEqual(['a']);
    read('long', 1_000);
    expect(mayBegin('long')).toEqual([]);
    for (const end of ends) end();
    expect(mayBegin('long')).toEqual(['b', 'c']);
    expect(mayBegin('long', { pinned: processes[0]! })).toContain('a');
    // There may be one more.
    const { mayBegin: withRoom } = open(3, ['a'], { a: 'keeper' });
    expect(withRoom('new')).toEqual([]);
  });

  it('leaves one process without transactions, but those of tenants with long reads', () => {
    const { read, mayBegin } = open(3, ['a', 'b', 'c'], { a: 'keeper', b: 'other' });
    const stays = { mayStayOpen: true };
    expect(mayBegin('new', stays)).toEqual(['a', 'b']);
    expect(mayBegin('new')).toEqual(['c']);
    read('long', 1_000);
    expect(mayBegin('long', stays)).toEqual(['c']);
  });

  it('has nothing to share where there is one process', () => {
    const { processes, begin, mayBegin, shares } = open(1, ['a'], { a: 'keeper' });
    begin(processes[0]!, 'x')();
    begin(processes[0]!, 'x');
    vi.advanceTimersByTime(5_000);
    expect([processes[0]!.isBackground, shares.lacksForeground]).toEqual([false, false]);
    processes[0]!.free = true;
    processes[0]!.tenant = undefined;
    expect(mayBegin('x')).toEqual(['a']);
  });
});
