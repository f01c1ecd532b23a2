import type { Logger } from '@onewriter/runtime';
import { expect, it } from 'vitest';
import { closeIdleTenants } from './idle-close.ts';

const quiet = { warn() {}, error() {}, fatal() {} } as unknown as Logger;

const IDLE_CLOSE_MS = 1_000;

interface FakeSession {
  readonly tenant: string;
  readonly asleep: boolean;
  readonly lastUsedAt: number;
}

function session(tenant: string, asleep: boolean, unusedMs: number): FakeSession {
  return { tenant, asleep, lastUsedAt: performance.now() - unusedMs };
}

function closeIdle(all: readonly FakeSession[], closeFile = async (_: FakeSession) => {}) {
  const steps: string[] = [];
  closeIdleTenants({
    sessions: {
      all,
      forget: ({ tenant }) => steps.push(`forget ${tenant}`),
      leaveOpenSet: async tenants => {
        steps.push(`leave ${tenants.join(' ')}`);
      },
    },
    idleCloseMs: IDLE_CLOSE_MS,
    closeFile: idle => {
      steps.push(`close ${idle.tenant}`);
      return closeFile(idle);
    },
    log: quiet,
  });
  return steps;
}

const idle = session('idle', true, 2 * IDLE_CLOSE_MS);
const idleToo = session('idle-too', true, 3 * IDLE_CLOSE_MS);
const justUsed = session('just-used', true, IDLE_CLOSE_MS / 2);
const awake = session('awake', false, 2 * IDLE_CLOSE_MS);

it('closes tenants without work whose last use is long enough ago, and no others', () => {
  expect(closeIdle([idle, justUsed, awake, idleToo])).toEqual([
    ...['forget idle', 'close idle', 'forget idle-too', 'close idle-too'],
    'leave idle idle-too',
  ]);
});

it('asks nothing of Redis where none is idle', () => {
  expect(closeIdle([justUsed, awake])).toEqual([]);
});

it('closes the others where one cannot be closed', () => {
  const fail = () => Promise.reject(new Error('the disk is full'));
  expect(closeIdle([idle, idleToo], fail)).toContain('close idle-too');
});
