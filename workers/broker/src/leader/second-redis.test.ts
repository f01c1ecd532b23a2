import { spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { lastLeaderFile, readLastLeader, readSecondRedisNote, withoutCredentials } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { BACK_AFTER_MS, RENEWAL_SILENT_MS, SecondRedis, SILENT_MS } from './second-redis.ts';

const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
let dataDir: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-second-redis-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A broker of a Redis that has this id, and this address. */
function makeBroker(redisId: string, address = redisId): SecondRedis {
  const link = { run: async () => redisId };
  const redisUrl = `redis://user:secret@${address}:6379/0?password=secret`;
  return new SecondRedis({ link, group: 'g', dataDir, redisUrl, log: log as unknown as Logger });
}

async function startBroker(redisId: string, address?: string) {
  const broker = makeBroker(redisId, address);
  return { broker, mayLead: await broker.mayLead() };
}

/** As if the leader were a process that cannot be seen from here, such as in another container, or a given one. */
function moveLeader(process: object): void {
  writeFileSync(lastLeaderFile(dataDir), JSON.stringify({ ...readLastLeader(dataDir), ...process }));
}
const ELSEWHERE = { processes: 'another kernel' };

let renewals = 0;
/** As a leader does. */
function renewLeader(): void {
  const at = new Date(1_000_000 + ++renewals * 700);
  utimesSync(lastLeaderFile(dataDir), at, at);
}

/** How long it takes until a broker may lead, looking every 100 ms, while nothing else happens. */
async function waitOf(broker: SecondRedis): Promise<number> {
  for (let waitedMs = 0; waitedMs <= 2 * SILENT_MS; waitedMs += 100) {
    if (await broker.mayLead()) return waitedMs;
    vi.advanceTimersByTime(100);
  }
  return Number.POSITIVE_INFINITY;
}

it('one of two gives way, and the other does so, too, only for a newer epoch', async () => {
  const [a, b] = await Promise.all([startBroker('a'), startBroker('b')]);
  a.broker.noteLead(8);
  b.broker.noteLead(9);
  expect(a.broker.giveWay(8, 9)).toMatch(/redis:\/\/a:6379\/0, .* gave way at .* to .* redis:\/\/b:6379\/0,/);
  b.broker.noteLead(10);
  // Its last epoch is older, or no newer one is noted than the other's.
  expect(b.broker.giveWay(7, 8)).toBeUndefined();
  expect(readSecondRedisNote(dataDir)?.gaveWay).toMatchObject({ redisId: 'a', epoch: 8 });
  // It continued nevertheless.
  a.broker.noteLead(11);
  expect(readSecondRedisNote(dataDir)).toBeUndefined();
  expect(b.broker.giveWay(10, 11)).toMatch(/redis:\/\/b:6379\/0, .* gave way/);
  expect(readSecondRedisNote(dataDir)?.other).toMatchObject({ redisId: 'a', epoch: 11 });
});

it('does not lead while it cannot read the leader note, says so once, and leads when it can', async () => {
  log.error.mockClear();
  // Read as another user's file is: with an error.
  mkdirSync(lastLeaderFile(dataDir));
  const broker = makeBroker('a');
  expect([await broker.mayLead(), await broker.mayLead()]).toEqual([false, false]);
  expect(broker.finding).toMatch(
    /^The leader note in the data directory cannot be read \(EISDIR.*Give this user the right/,
  );
  expect(log.error).toHaveBeenCalledOnce();
  rmdirSync(lastLeaderFile(dataDir));
  expect([await broker.mayLead(), broker.finding]).toEqual([true, undefined]);
});

describe('a leader', () => {
  it('renews its note, puts it back where it is lost, and ends where another acquired an epoch since', async () => {
    const [a, b] = await Promise.all([startBroker('a'), startBroker('b')]);
    const path = lastLeaderFile(dataDir);
    a.broker.noteLead(8);
    utimesSync(path, new Date(0), new Date(0));
    expect(await a.broker.renew(() => 8)).toBeUndefined();
    expect(statSync(path).mtimeMs).toBeGreaterThan(0);
    rmSync(path);
    expect(await a.broker.renew(() => 8)).toBeUndefined();
    expect(readLastLeader(dataDir)).toMatchObject({ redisId: 'a', epoch: 8 });
    writeFileSync(path, 'half a no');
    expect(await a.broker.renew(() => 8)).toBeUndefined();
    expect(readLastLeader(dataDir)).toMatchObject({ redisId: 'a', epoch: 8 });

    // Both Redis servers issued the same epoch: the broker that noted it last continues.
    b.broker.noteLead(8);
    const noted = readFileSync(path, 'utf8');
    utimesSync(path, new Date(0), new Date(0));
    expect(await a.broker.renew(() => 8)).toMatch(
      /redis:\/\/a:6379.* gave way .*redis:\/\/b:6379.*ONEWRITER_REDIS_URL/,
    );
    // It has not renewed the other's.
    expect([readFileSync(path, 'utf8'), statSync(path).mtimeMs]).toEqual([noted, 0]);
    expect(readSecondRedisNote(dataDir)?.gaveWay).toMatchObject({ redisId: 'a', epoch: 8 });
    expect(await b.broker.renew(() => 8)).toBeUndefined();
    // One that has an older epoch is overtaken instead.
    expect(await a.broker.renew(() => 9)).toBeUndefined();
    expect(await b.broker.renew(() => 8)).toMatch(/gave way/);
  });

  it('ends without a note where another of the same Redis acquired an epoch', async () => {
    const [first, second] = await Promise.all([startBroker('a'), startBroker('a')]);
    first.broker.noteLead(8);
    second.broker.noteLead(9);
    expect(await first.broker.renew(() => 8)).toMatch(/another broker acquired epoch 9/);
    expect(readSecondRedisNote(dataDir)).toBeUndefined();
  });
});

describe('a broker of another Redis', () => {
  it('leads at once where the last leader has ended, or its process is gone', async () => {
    const { broker } = await startBroker('a');
    broker.noteLead(8);
    expect((await startBroker('b')).mayLead).toBe(false);
    broker.noteEnd();
    expect((await startBroker('b')).mayLead).toBe(true);
    broker.noteLead(9);
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise(resolve => child.once('exit', resolve));
    moveLeader({ pid: child.pid });
    expect((await startBroker('b')).mayLead).toBe(true);
  });

  it('waits until a leader that it cannot see is silent, and longer for one that may be stopped', async () => {
    (await startBroker('a')).broker.noteLead(8);
    // Its process is this one.
    expect(await waitOf(makeBroker('b'))).toBe(SILENT_MS);
    moveLeader(ELSEWHERE);
    expect(await waitOf(makeBroker('b'))).toBe(RENEWAL_SILENT_MS);
  });

  it('stands aside while the other renews, says so, and leaves time to a successor on the other side', async () => {
    const a = await startBroker('a');
    a.broker.noteLead(8);
    moveLeader(ELSEWHERE);
    const { broker } = await startBroker('b');
    for (let step = 0; step < 100; step++) {
      renewLeader();
      vi.advanceTimersByTime(700);
      expect(await broker.mayLead()).toBe(false);
    }
    expect(broker.finding).toMatch(/redis:\/\/a:.* leads, .*redis:\/\/b:.* stands by .*ONEWRITER_REDIS_URL/);
    expect(broker.finding).not.toContain('secret');
    expect(readSecondRedisNote(dataDir)).toMatchObject({ gaveWay: { redisId: 'b', epoch: 0 } });
    // One of the same Redis is not held up, and the note is not its own.
    expect((await startBroker('a')).mayLead).toBe(true);
    moveLeader({ ended: true });
    expect(await waitOf(broker)).toBe(SILENT_MS);
    expect(broker.finding).toBeUndefined();
    // Started again meanwhile, it waits as long; not where its note is old.
    expect(await waitOf(makeBroker('b'))).toBe(SILENT_MS);
    const note = { ...readSecondRedisNote(dataDir), seen: new Date(Date.now() - 3_600_000).toISOString() };
    writeFileSync(join(dataDir, 'second-redis'), JSON.stringify(note));
    expect(await waitOf(makeBroker('b'))).toBe(0);
    broker.noteLead(9);
    expect((await startBroker('b')).mayLead).toBe(true);
  });

  it('that led before the other did comes back some seconds after the other is gone', async () => {
    const [a, b] = await Promise.all([startBroker('a'), startBroker('b')]);
    a.broker.noteLead(8);
    b.broker.noteLead(9);
    moveLeader(ELSEWHERE);
    expect(await a.broker.renew(() => 8)).toMatch(/gave way/);
    const { broker } = await startBroker('a');
    for (let step = 0; step < 100; step++) {
      renewLeader();
      vi.advanceTimersByTime(700);
      expect(await broker.mayLead()).toBe(false);
    }
    moveLeader({ ended: true });
    expect(await waitOf(broker)).toBe(BACK_AFTER_MS);
    a.broker.noteLead(10);
    expect(readSecondRedisNote(dataDir)).toBeUndefined();
  });

  it('is none where a Redis lost its data: another id at the same address, which only the machine itself may name otherwise', async () => {
    const { broker } = await startBroker('a', 'redis');
    broker.noteLead(8);
    expect((await startBroker('b', 'redis')).mayLead).toBe(true);
    moveLeader({ host: 'another', redis: 'redis://127.0.0.1:6379/0' });
    expect((await startBroker('b', '127.0.0.1')).mayLead).toBe(false);
    moveLeader({ host: hostname() });
    expect((await startBroker('b', '127.0.0.1')).mayLead).toBe(true);
  });
});

it('those of a Redis that gave way to an older broker lead when that has not noted the clock for a while', async () => {
  const [a, b] = await Promise.all([startBroker('a'), startBroker('b')]);
  b.broker.noteLead(2);
  const { broker: _, processes: __, ...older } = readLastLeader(dataDir)!;
  writeFileSync(lastLeaderFile(dataDir), JSON.stringify(older));
  // It is not known to lead.
  expect((await startBroker('c')).mayLead).toBe(true);
  a.broker.giveWay(1, 2);
  const { broker, mayLead } = await startBroker('a');
  expect([mayLead, (await startBroker('b')).mayLead, b.broker.finding]).toEqual([false, true, undefined]);
  for (let step = 1; step < 5; step++) {
    writeFileSync(join(dataDir, 'clock'), `${step}`);
    expect(await broker.mayLead()).toBe(false);
    vi.advanceTimersByTime(SILENT_MS - 1);
    expect(await broker.mayLead()).toBe(false);
  }
  vi.advanceTimersByTime(1);
  expect([await broker.mayLead(), broker.finding]).toEqual([true, undefined]);
});

it('shows a URL without its secrets', () => {
  expect(withoutCredentials('redis://u:p%40@h:1/2')).toBe('redis://h:1/2');
  expect(withoutCredentials('redis://u:p/w@h:1')).toBe('redis://h:1');
  expect(withoutCredentials('redis+sentinel://:p@a:1,b:2/main?sentinelPassword=x')).toBe(
    'redis+sentinel://a:1,b:2/main',
  );
});
