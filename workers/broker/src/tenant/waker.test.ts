import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Waker, type WakerOptions } from './waker.ts';

const WAIT = { timeout: 10_000, interval: 5 };

/** A thread that notes each request, and ends it when a file of the tenant's name is there; `bad` fails. */
const THREAD = `
  import { appendFileSync, existsSync } from 'node:fs';
  import { join } from 'node:path';
  import { setTimeout as pause } from 'node:timers/promises';
  import { workerData } from 'node:worker_threads';
  const { folder } = workerData;
  export default async ({ tenant, storedPos }) => {
    appendFileSync(join(folder, 'requests'), tenant + ' ' + storedPos + '\\n');
    if (tenant === 'bad') throw Object.assign(new Error('no store'), { code: 'REPLICA_UNAVAILABLE' });
    while (!existsSync(join(folder, tenant))) await pause(5);
    return { tenant, bytes: 1, requests: 1, ms: 1 };
  };
`;

function setUp(options: Partial<WakerOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-waker-'));
  writeFileSync(join(folder, 'thread.mjs'), THREAD);
  const log = { info: vi.fn(), warn: vi.fn() };
  const waker = new Waker({
    data: { folder } as unknown as WakerOptions['data'],
    storedPos: () => 7,
    mayPlace: () => true,
    log: log as unknown as WakerOptions['log'],
    threadUrl: pathToFileURL(join(folder, 'thread.mjs')),
    ...options,
  });
  onTestFinished(async () => {
    await waker.close();
    rmSync(folder, { recursive: true });
  });
  return { waker, log, arrive: (tenant: string) => writeFileSync(join(folder, tenant), '') };
}

it('brings a file back once for all who wait', async () => {
  const outcomes: [string, boolean][] = [];
  const { waker, log, arrive } = setUp({ onEnded: (outcome, ms) => outcomes.push([outcome, ms > 0]) });
  const waiting = [waker.wake('acme'), waker.wake('acme'), waker.wake('acme')];
  expect(waker.size).toBe(1);
  arrive('acme');
  expect(await Promise.all(waiting)).toEqual([undefined, undefined, undefined]);
  expect([waker.size, log.info.mock.calls.length]).toEqual([0, 1]);
  expect(outcomes).toEqual([['woken', true]]);
});

it('has callers answered where it takes long, and continues', async () => {
  const { waker, arrive } = setUp({ answerAfterMs: 50 });
  expect(await waker.wake('slow')).toMatchObject({ code: 'TENANT_WAKING', details: { tenant: 'slow' } });
  expect(waker.size).toBe(1);
  arrive('slow');
  await vi.waitFor(() => expect(waker.size).toBe(0), WAIT);
});

it('says why a file does not come, and tries again when asked', async () => {
  const { waker, log } = setUp();
  const error = { code: 'REPLICA_UNAVAILABLE', details: { tenant: 'bad', reason: 'hibernated' } };
  for (const _ of [1, 2]) expect(await waker.wake('bad')).toMatchObject(error);
  expect(log.warn).toHaveBeenCalledTimes(2);
  const failed = [{ tenant: 'bad', message: 'no store' }];
  expect(waker.status).toEqual({ waking: 0, failing: 1, failed });
  // Another works on it, or it is deleted.
  await waker.stop('bad');
  expect(waker.status).toEqual({ waking: 0, failing: 0, failed: [] });
});

it('brings nothing where there is no replica, or another broker leads', async () => {
  expect(await setUp({ data: undefined }).waker.wake('acme')).toMatchObject({
    message: /ONEWRITER_REPLICA_URL/,
  });
  expect(await setUp({ mayPlace: () => false }).waker.wake('acme')).toMatchObject({
    message: /does not lead/,
  });
});

it('stops for those who work on the file, and at the end', async () => {
  const outcomes: string[] = [];
  const { waker } = setUp({ onEnded: outcome => outcomes.push(outcome) });
  const held = waker.wake('acme');
  await waker.stop('acme');
  expect([await held, waker.size]).toMatchObject([{ code: 'REPLICA_UNAVAILABLE' }, 0]);
  await waker.stop('other');
  const ended = waker.wake('acme');
  await waker.close();
  expect(await ended).toMatchObject({ code: 'REPLICA_UNAVAILABLE' });
  expect([outcomes, waker.status.failing]).toEqual([['stopped', 'stopped'], 0]);
});
