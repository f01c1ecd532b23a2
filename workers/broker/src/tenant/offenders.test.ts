import { encodeSender, groupKeys } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { holdKeys, LASTING_HOLD_MS, REPEAT_OFFENDER } from '@onewriter/tenants';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RedisLink } from '../queue/redis-link.ts';
import { Offenders } from './offenders.ts';
import { Parked } from './parked.ts';
import { ReplacementBudget } from './replacement-budget.ts';

const TIMEOUT_MS = 10_000;
const quiet = { warn() {}, error() {}, info() {} } as unknown as Logger;

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'performance'], now: 1_000_000 }));
afterEach(() => void vi.useRealTimers());

/** A model of the hashes that are used. */
function createGround({ offenceLimit = 0, offenceWindowMs = 10 * 60_000 } = {}) {
  const hashes = new Map<string, Map<string, string>>();
  const hashOf = (key: string) => hashes.get(key) ?? hashes.set(key, new Map()).get(key)!;
  const hash = hashOf(groupKeys('default').backOff);
  const audited: string[] = [];
  const link = {
    redis: {
      hgetall: async (key: string) => Object.fromEntries(hashOf(key)),
      xadd: async (...args: unknown[]) => audited.push(args.join(' ')),
    },
    retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
    async call(command: string, key: string, ...args: string[]) {
      if (command === 'HGET') return hashOf(key).get(args[0]!) ?? null;
      if (command === 'HEXISTS') return hashOf(key).has(args[0]!) ? 1 : 0;
      if (command === 'HSET') return hashOf(key).set(args[0]!, args[1]!);
      for (const field of args) hashOf(key).delete(field);
      return undefined;
    },
    async run(_: unknown, [holds, , id, lifeMs, json]: [string, string, string, number, string]) {
      hashOf(holds).set(id, JSON.stringify({ ...JSON.parse(json), lifeMs }));
      return '';
    },
  } as unknown as RedisLink;
  /** The state of a process that takes over. */
  const start = async () => {
    const parked = new Parked(link, 'default', quiet);
    await parked.load();
    const park = vi.spyOn(parked, 'park');
    const options = { group: 'default', statementTimeoutMs: TIMEOUT_MS, offenceLimit, offenceWindowMs };
    const budget = new ReplacementBudget(link, { ...options, dataDir: '/none' }, quiet);
    const offenders = new Offenders(link, options, parked, budget, quiet);
    return { offenders, parked, park, paused: await offenders.load() };
  };
  const load = async () => (await start()).offenders;
  const holdOf = (tenant: string) => {
    const json = hashOf(holdKeys('default', tenant).holds).get(REPEAT_OFFENDER);
    return json === undefined ? undefined : (JSON.parse(json) as { reason: string; lifeMs: number });
  };
  /** As resumeTenant does. */
  const resume = (tenant: string) => {
    hash.delete(tenant);
    hashOf(holdKeys('default', tenant).holds).delete(REPEAT_OFFENDER);
  };
  return { hash, start, load, holdOf, resume, audited };
}

describe('Offenders', () => {
  it('holds a tenant back from the second time on, twice as long each time, and no other', async () => {
    const { start, load } = createGround();
    const parked: unknown[] = [];
    const pauses: number[] = [];
    for (let times = 1; times <= 9; times++) {
      const { offenders, park } = await start();
      expect(await offenders.note({ tenant: 'slow' })).toBe(false);
      parked.push(...park.mock.calls.map(([tenant, { code }]) => [tenant, code]));
      const successor = await load();
      pauses.push(successor.leftMs('slow'));
      expect(successor.leftMs('other')).toBe(0);
      vi.advanceTimersByTime(successor.leftMs('slow'));
      expect(successor.leftMs('slow')).toBe(0);
    }
    expect(pauses).toEqual([0, 10, 20, 40, 80, 160, 320, 600, 600].map(seconds => seconds * 1_000));
    expect(parked).toEqual(Array(8).fill(['slow', 'STATEMENT_TIMEOUT']));
  });

  it('forgets it after ten minutes without', async () => {
    const { hash, load } = createGround();
    for (let times = 1; times <= 3; times++) await (await load()).note({ tenant: 'slow' });
    vi.advanceTimersByTime(20_000 + 10 * 60_000 - 1);
    await load();
    expect(hash.size).toBe(1);
    vi.advanceTimersByTime(2);
    await load();
    expect(hash.size).toBe(0);
  });

  it('is held back by no wall clock for longer', async () => {
    const { load } = createGround();
    for (let times = 1; times <= 2; times++) await (await load()).note({ tenant: 'slow' });
    vi.setSystemTime(-400 * 86_400_000);
    const successor = await load();
    expect(successor.leftMs('slow')).toBe(TIMEOUT_MS);
    vi.setSystemTime(400 * 86_400_000);
    expect(successor.leftMs('slow')).toBe(TIMEOUT_MS);
    vi.advanceTimersByTime(TIMEOUT_MS);
    expect(successor.leftMs('slow')).toBe(0);
  });

  it('pauses a tenant with the offence that reaches the limit, and no other', async () => {
    const { start, load, holdOf, audited } = createGround({ offenceLimit: 3 });
    for (const isPaused of [false, false, true]) {
      expect(holdOf('slow')).toBeUndefined();
      await (await load()).note({ tenant: 'other' });
      expect(await (await load()).note({ tenant: 'slow' })).toBe(isPaused);
      vi.advanceTimersByTime(5 * 60_000 - 1);
    }
    expect(holdOf('slow')).toMatchObject({ name: REPEAT_OFFENDER, who: 'broker', lifeMs: LASTING_HOLD_MS });
    expect(holdOf('slow')?.reason).toContain('onewriter tenants resume slow');
    expect(audited.filter(entry => entry.includes('tenant slow')).length).toBe(1);
    const { paused, parked, offenders } = await start();
    expect(paused).toContain('slow');
    expect(parked.codeOf('slow')).toBe('TENANT_PAUSED');
    // The hold keeps it still: once it is resumed nothing else holds it back.
    expect(offenders.leftMs('slow')).toBe(0);
  });

  it('pauses no tenant at its first offence, however many others had', async () => {
    const { load, holdOf } = createGround({ offenceLimit: 3, offenceWindowMs: 60_000 });
    // As many tenants as share a token's rights, once each; one more sends one slow script.
    for (let index = 1; index <= 40; index++)
      expect(await (await load()).note({ tenant: `many-${index}` })).toBe(false);
    expect(await (await load()).note({ tenant: 'honest' })).toBe(false);
    expect(holdOf('honest')).toBeUndefined();
  });

  it('pauses a tenant at its share while those of all tenants are too many, and no other', async () => {
    const { load, holdOf } = createGround({ offenceLimit: 4, offenceWindowMs: 60_000 });
    // Two of eight for each of four; up to the bound each may have its own limit.
    for (const tenant of ['a', 'b', 'c', 'd'])
      for (const _ of [1, 2]) expect(await (await load()).note({ tenant })).toBe(false);
    expect(await (await load()).note({ tenant: 'a' })).toBe(true);
    expect(holdOf('a')?.reason).toMatch(
      /^3 processes were replaced within 1 min .* others had many replaced/,
    );
    expect(await (await load()).note({ tenant: 'late' })).toBe(false);
    expect(await (await load()).note({ tenant: 'late' })).toBe(true);
    expect(['b', 'c', 'd'].map(holdOf)).toEqual([undefined, undefined, undefined]);
    vi.advanceTimersByTime(60_000);
    expect(await (await load()).note({ tenant: 'later' })).toBe(false);
  });

  it('has a tenant run apart after each offence, for longer each time, and no other', async () => {
    const { load, start } = createGround();
    const minutes: number[] = [];
    for (let times = 1; times <= 6; times++) {
      const { offenders } = await start();
      expect(offenders.runsApart('slow')).toBe(false);
      await offenders.note({ tenant: 'slow' });
      const successor = await load();
      const pauseMs = successor.leftMs('slow');
      expect([offenders, successor].map(each => each.runsApart('slow'))).toEqual([true, true]);
      expect(successor.runsApart('other')).toBe(false);
      let ms = 0;
      for (; successor.runsApart('slow'); ms += 1_000) vi.advanceTimersByTime(1_000);
      minutes.push(Math.round((ms - pauseMs) / 60_000));
    }
    expect(minutes).toEqual([1, 2, 4, 8, 10, 10]);
  });

  it('counts a replacement for those suspects whose job took much when it ran apart', async () => {
    const { load, hash, holdOf } = createGround({ offenceLimit: 3 });
    for (let times = 1; times <= 3; times++) {
      await (await load()).noteSuspects([{ tenant: 'costly' }, { tenant: 'beside' }]);
      const successor = await load();
      expect(successor.runsApart('beside')).toBe(false);
      expect(await successor.judgeSuspect('beside', false)).toBe(false);
      expect(await successor.judgeSuspect('costly', true)).toBe(times === 3);
      expect(successor.runsApart('costly')).toBe(true);
      // Judged once: what runs later is no suspect.
      expect(await successor.judgeSuspect('costly', true)).toBe(false);
    }
    expect(holdOf('costly')).toBeDefined();
    expect([...hash.keys()]).toEqual(['costly']);
    expect(JSON.parse(hash.get('costly')!)).toMatchObject({ times: 3 });
  });

  it('keeps the offences of a suspect that is not to blame this time', async () => {
    const { load, hash } = createGround();
    const first = await load();
    await Promise.all([first.note({ tenant: 'slow' }), first.noteSuspects([{ tenant: 'slow' }])]);
    expect(JSON.parse(hash.get('slow')!)).toMatchObject({ times: 1, suspectedAt: Date.now() });
    await (await load()).judgeSuspect('slow', false);
    expect(JSON.parse(hash.get('slow')!)).toEqual({ times: 1, at: Date.now(), offences: [Date.now()] });
  });

  it('has writes of a sender run apart in all its tenants, and those of no other sender', async () => {
    const { load, hash } = createGround();
    const jobOf = (sender: string) => ({ data: `{"sql":["INSERT"],"ops":[{"s":0${encodeSender(sender)}}]}` });
    await (await load()).noteSuspects([{ tenant: 'a', sender: 'many' }]);
    const suspected = await load();
    expect(suspected.runsApart('b', [jobOf('one'), jobOf('many')])).toBe(true);
    expect(suspected.runsApart('b', [jobOf('one'), {}])).toBe(false);
    vi.advanceTimersByTime(60_000);
    expect(suspected.runsApart('b', [jobOf('many')])).toBe(false);
    for (const tenant of ['a', 'b']) await suspected.note({ tenant, sender: 'many' });
    const successor = await load();
    vi.advanceTimersByTime(119_000);
    expect(successor.runsApart('c', [jobOf('many')])).toBe(true);
    vi.advanceTimersByTime(11_000);
    expect(successor.runsApart('c', [jobOf('many')])).toBe(false);
    vi.advanceTimersByTime(11 * 60_000);
    await load();
    expect(hash.size).toBe(0);
  });

  it('does not count offences before the window', async () => {
    const { load, holdOf } = createGround({ offenceLimit: 3, offenceWindowMs: 60_000 });
    for (let times = 1; times <= 12; times++) {
      expect(await (await load()).note({ tenant: 'slow' })).toBe(false);
      vi.advanceTimersByTime(30_000);
    }
    expect(holdOf('slow')).toBeUndefined();
  });

  it('starts counting from zero where a person resumed the tenant, in this process or another', async () => {
    const { start, resume, holdOf, hash } = createGround({ offenceLimit: 2 });
    const first = await start();
    await first.offenders.note({ tenant: 'slow' });
    expect(await first.offenders.note({ tenant: 'slow' })).toBe(true);
    // A batch that was begun before commits after it.
    first.parked.release('slow');
    expect(first.parked.codeOf('slow')).toBe('TENANT_PAUSED');
    resume('slow');
    first.offenders.onResumed('slow');
    expect(first.parked.codeOf('slow')).toBeUndefined();
    expect(await first.offenders.note({ tenant: 'slow' })).toBe(false);
    expect(JSON.parse(hash.get('slow')!)).toMatchObject({ times: 1 });
    expect(await first.offenders.note({ tenant: 'slow' })).toBe(true);
    resume('slow');
    const second = await start();
    expect([second.paused, second.parked.size, holdOf('slow')]).toEqual([[], 0, undefined]);
  });

  it('adds the hold of a predecessor that ended between its note and the hold, and never forgets a pause', async () => {
    const { start, holdOf, hash } = createGround({ offenceLimit: 2 });
    hash.set('slow', JSON.stringify({ times: 2, at: Date.now(), offences: [], paused: 'why' }));
    vi.advanceTimersByTime(400 * 86_400_000);
    expect((await start()).paused).toEqual(['slow']);
    expect(holdOf('slow')?.reason).toBe('why');
  });

  it('counts a poisoned job twice, and holds its tenant back in the process that keeps running', async () => {
    const { load, holdOf } = createGround({ offenceLimit: 3 });
    const offenders = await load();
    expect(await offenders.notePoison('bad')).toBe(false);
    expect(offenders.leftMs('bad')).toBe(TIMEOUT_MS);
    expect(await offenders.notePoison('bad')).toBe(true);
    expect(holdOf('bad')).toBeDefined();
  });
});
