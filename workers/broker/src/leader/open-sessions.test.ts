import { groupKeys } from '@onewriter/protocol';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { createModelServices } from '../../test-support/session-model.ts';
import { FINISH_AFTER_MS } from '../tenant/session/completion.ts';
import type { SessionContext, TenantSession } from '../tenant/session/tenant-session.ts';
import { OpenSessions, RENEW_LOCKS_EVERY_MS } from './open-sessions.ts';

let commands: string[];
let bugs: unknown[];
let forgotten: string[];
let sessions: OpenSessions;
let call: (...command: unknown[]) => Promise<unknown>;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'], now: 1_000 });
  onTestFinished(() => void vi.useRealTimers());
  [commands, bugs, forgotten] = [[], [], []];
  call = async () => 0;
  const link = {
    call: (...command: unknown[]) => {
      commands.push(command.join(' '));
      return call(...command);
    },
    run: async () => 0,
    retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
  };
  const services = {
    ...createModelServices(() => 0.5, bugs),
    walWatch: { forget: (tenant: string) => forgotten.push(tenant) },
  } as unknown as SessionContext;
  const options = { link, config: { group: 'default' }, lease: { epoch: 1 } } as never;
  sessions = new OpenSessions(options, services);
});

const { open, tenants } = groupKeys('default');

it('has one session for a tenant, which a successor can find before its first fetch', () => {
  const session = sessions.of('acme');
  expect(commands.slice(0, 2)).toEqual([`SADD ${open} acme`, `ZADD ${tenants} GT 1000 acme`]);
  const sent = commands.length;
  expect([sessions.of('acme'), sessions.find('acme')]).toEqual([session, session]);
  expect(commands).toHaveLength(sent);
  expect([sessions.size, sessions.has('acme'), sessions.has('other')]).toEqual([1, true, false]);
});

it('opens a new session after the last was forgotten', () => {
  const session = sessions.of('acme');
  sessions.forget(session);
  expect([sessions.find('acme'), forgotten]).toEqual([undefined, ['acme']]);
  expect(sessions.of('acme')).not.toBe(session);
});

it('ends the process where Redis does not accept that a tenant is open', async () => {
  call = async command => {
    if (command === 'SADD') throw new Error('refused');
  };
  sessions.of('acme');
  await vi.waitFor(() => expect(bugs).toEqual([new Error('refused')]));
});

function finishable(tenant: string, finish: () => Promise<void>): TenantSession {
  return { tenant, finishAnswered: finish } as unknown as TenantSession;
}

it('finishes the jobs of several sessions together, each once, and reports what fails', async () => {
  const finished: string[] = [];
  const one = finishable('one', async () => void finished.push('one'));
  const bad = finishable('bad', () => Promise.reject(new Error('broken')));
  for (const session of [one, bad, one]) sessions.finishSoon(session);
  expect(finished).toEqual([]);
  await vi.advanceTimersByTimeAsync(FINISH_AFTER_MS);
  expect([finished, bugs]).toEqual([['one'], [new Error('broken')]]);
  sessions.finishSoon(one);
  await vi.advanceTimersByTimeAsync(FINISH_AFTER_MS);
  expect([finished, bugs.length]).toEqual([['one', 'one'], 1]);
});

it('leaves what is not finished to the drain', async () => {
  const finished: string[] = [];
  sessions.finishSoon(finishable('one', async () => void finished.push('one')));
  sessions.stop();
  await vi.advanceTimersByTimeAsync(10 * FINISH_AFTER_MS);
  expect(finished).toEqual([]);
});

it('renews locks that will be a period old, and survives a refusal', async () => {
  const renew = vi.spyOn(sessions.of('acme'), 'renewLocks').mockRejectedValue(new Error('no connection'));
  vi.advanceTimersByTime(60_000);
  sessions.renewLocks();
  expect(renew).toHaveBeenCalledWith(performance.now() - RENEW_LOCKS_EVERY_MS);
  await vi.advanceTimersByTimeAsync(0);
  expect(bugs).toEqual([]);
});

it('lists open transactions, those that end first, and counts all', () => {
  for (let index = 0; index < 60; index++) {
    const session = sessions.of(`t${index}`);
    const transaction = { tenant: session.tenant, deadlineAt: 1_000 - index };
    vi.spyOn(session, 'openTransaction', 'get').mockReturnValue(transaction as never);
  }
  sessions.of('without');
  const { total, open: listed } = sessions.transactions;
  expect([total, listed.length, listed[0]?.tenant, listed[49]?.tenant]).toEqual([60, 50, 't59', 't10']);
});
