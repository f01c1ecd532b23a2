import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeSender, groupKeys, knownTenantMark, noteKnownDatabase } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RedisLink } from '../queue/redis-link.ts';
import { Offenders } from './offenders.ts';
import { Parked } from './parked.ts';
import { ReplacementBudget } from './replacement-budget.ts';

const MINUTE_MS = 60_000;
const WINDOW_MS = 10 * MINUTE_MS;
const STARTED_AT = 1_000_000_000;
const quiet = { warn() {}, error() {}, info() {} } as unknown as Logger;
let dataDir: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-budget-'));
  vi.useFakeTimers({ toFake: ['Date', 'performance'], now: STARTED_AT });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dataDir, { recursive: true, force: true });
});

/** A model of the hashes that are used, and the processes that lead, one after the other. */
function createGround(offenceLimit = 3) {
  const hashes = new Map<string, Map<string, string>>();
  const hashOf = (key: string) => hashes.get(key) ?? hashes.set(key, new Map()).get(key)!;
  const link = {
    redis: { hgetall: async (key: string) => Object.fromEntries(hashOf(key)) },
    retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
    async call(command: string, key: string, ...args: string[]) {
      if (command === 'HSET') hashOf(key).set(args[0]!, args[1]!);
      else if (command === 'HSETNX') hashOf(key).set(args[0]!, hashOf(key).get(args[0]!) ?? args[1]!);
      else for (const field of args) hashOf(key).delete(field);
    },
  } as unknown as RedisLink;
  const options = {
    ...{ group: 'default', dataDir, statementTimeoutMs: 10_000 },
    ...{ offenceLimit, offenceWindowMs: WINDOW_MS },
  };
  let epoch = 0;
  const lead = async () => {
    const budget = new ReplacementBudget(link, options, quiet);
    await budget.load();
    const offenders = new Offenders(link, options, new Parked(link, 'default', quiet), budget, quiet);
    await offenders.load();
    epoch++;
    return { budget, offenders };
  };
  /** A tenant has the leading process replaced. */
  const replace = async (tenant: string, sender?: string) => {
    const { budget, offenders } = await lead();
    await Promise.all([offenders.note({ tenant, sender }), budget.note(epoch)]);
  };
  return { lead, replace, notes: hashOf(groupKeys('default').replacements) };
}

/** A broker first writes to the tenant now. */
function create(tenant: string): void {
  noteKnownDatabase(dataDir, tenant);
  utimesSync(knownTenantMark(dataDir, tenant), new Date(), new Date());
}

describe('ReplacementBudget', () => {
  it('is spent by replacements of different tenants, until the oldest of them leaves the window', async () => {
    const { lead, replace } = createGround();
    for (const tenant of ['a', 'b', 'c']) {
      expect((await lead()).budget.spentMs()).toBe(0);
      await replace(tenant);
      vi.advanceTimersByTime(MINUTE_MS);
    }
    const { budget } = await lead();
    expect(budget.spentMs()).toBe(WINDOW_MS - 3 * MINUTE_MS);
    // One more: now two have to leave.
    await replace('d');
    const successor = await lead();
    expect([successor.budget.spentMs(), successor.budget.count]).toEqual([WINDOW_MS - 2 * MINUTE_MS, 4]);
    vi.advanceTimersByTime(WINDOW_MS - 2 * MINUTE_MS);
    expect([successor.budget.spentMs(), (await lead()).budget.spentMs()]).toEqual([0, 0]);
    expect([successor.budget.count, (await lead()).budget.count]).toEqual([2, 2]);
  });

  it('has offenders run apart for as long as it is spent, and no other tenant that was there before', async () => {
    const { lead, replace } = createGround();
    for (const tenant of ['a', 'b', 'honest']) create(tenant);
    vi.advanceTimersByTime(1_000);
    for (const tenant of ['a', 'b']) await replace(tenant);
    // Each runs apart for a minute only where there is room in the budget.
    vi.advanceTimersByTime(MINUTE_MS);
    const before = await lead();
    expect(['a', 'b'].map(each => before.offenders.runsApart(each))).toEqual([false, false]);
    await replace('a');
    const { budget, offenders } = await lead();
    vi.advanceTimersByTime(budget.spentMs() - 1);
    expect(['a', 'b', 'honest'].map(each => offenders.runsApart(each))).toEqual([true, true, false]);
    vi.advanceTimersByTime(1);
    expect(['a', 'b'].map(each => offenders.runsApart(each))).toEqual([false, false]);
  });

  it('has writes of an offending sender run apart for as long, in all its tenants', async () => {
    const { lead, replace } = createGround(2);
    create('b');
    vi.advanceTimersByTime(1);
    await replace('a', 'many');
    await replace('c');
    const { budget, offenders } = await lead();
    const job = { data: `{"sql":["INSERT"],"ops":[{"s":0${encodeSender('many')}}]}` };
    vi.advanceTimersByTime(budget.spentMs() - 1);
    expect([offenders.runsApart('b', [job]), offenders.runsApart('b', [{}])]).toEqual([true, false]);
  });

  it('has tenants run apart that were created since the first of these replacements, or are not yet', async () => {
    const { lead, replace } = createGround();
    create('before');
    vi.advanceTimersByTime(1_000);
    await replace('a');
    vi.advanceTimersByTime(1_000);
    create('meanwhile');
    for (const tenant of ['b', 'c']) await replace(tenant);
    const { budget, offenders } = await lead();
    const tenants = ['before', 'meanwhile', 'unknown'];
    expect(tenants.map(each => offenders.runsApart(each))).toEqual([false, true, true]);
    vi.advanceTimersByTime(budget.spentMs());
    expect(tenants.map(each => offenders.runsApart(each))).toEqual([false, false, false]);
  });

  it('counts processes that ended in the middle of writes, and those with a note only once', async () => {
    const { lead, replace, notes } = createGround();
    const { budget } = await lead();
    await budget.noteDeaths(['40', '41']);
    expect((await lead()).budget.spentMs()).toBe(0);
    await replace('a');
    const noted = [...notes];
    vi.advanceTimersByTime(1_000);
    // Its threads were at work, too.
    await budget.noteDeaths([...notes.keys()]);
    expect([...notes]).toEqual(noted);
    expect((await lead()).budget.spentMs()).toBe(WINDOW_MS - 1_000);
  });

  it('counts a process once, however often its note is sent, and keeps no old notes', async () => {
    const { lead, replace, notes } = createGround();
    const { budget } = await lead();
    for (let times = 0; times < 5; times++) await budget.note(1);
    expect((await lead()).budget.spentMs()).toBe(0);
    vi.advanceTimersByTime(WINDOW_MS);
    await replace('a');
    await lead();
    expect([...notes.values()]).toEqual([String(Date.now())]);
  });

  it('lasts no longer than the window where the clock is set back, and never where the limit is 0', async () => {
    const { lead, replace } = createGround();
    for (const tenant of ['a', 'b', 'c']) await replace(tenant);
    vi.setSystemTime(STARTED_AT - 100 * WINDOW_MS);
    expect((await lead()).budget.spentMs()).toBe(WINDOW_MS);
    const free = createGround(0);
    for (const tenant of ['a', 'b', 'c']) await free.replace(tenant);
    expect((await free.lead()).budget.spentMs()).toBe(0);
  });
});
