import type { BrokerStatus } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { nextForAlert } from '../doctor/next-for-alert.ts';
import { cut, duration, formatStatus, milliseconds } from './format-status.ts';

const VIEW = { colour: false, width: 120, height: 50, group: 'default', place: '/data' };
const SOURCE = { readAt: 0, brokers: [], lease: undefined, problem: undefined };

const TENANT = {
  writesPerSecond: 5,
  failedPerSecond: 0,
  batchesPerSecond: 5,
  busyShare: 0.1,
  meanBatchMs: 2,
  maxBatchMs: 4,
  maxDelayMs: 7_000,
  queuedJobs: 3,
  walBytes: 4_096,
};
const STATUS = {
  v: 1,
  at: 0,
  leader: { broker: 'b', host: 'h', pid: 7, epoch: 3, since: 0, leaseHeld: true },
  writes: {
    windowMs: 10_000,
    perSecond: 12,
    failedPerSecond: 0,
    batchesPerSecond: 1,
    commitP50Ms: null,
    commitP99Ms: null,
    delayP50Ms: 1,
    delayP99Ms: 2,
    total: 9,
    failedTotal: 0,
  },
  queue: { waitingJobs: 1, heldJobs: 2, depth: 3 },
  tenants: {
    windowMs: 10_000,
    active: 1,
    open: 1,
    known: 2,
    writesPerSecond: 12,
    busiest: [{ ...TENANT, tenant: 'busy' }],
    slowest: [],
    delayed: [{ ...TENANT, tenant: 'late' }],
    deepest: [],
  },
  parked: { total: 1, tenants: [{ tenant: 'sick', code: 'DATABASE_CORRUPT', message: 'It is.', since: 0 }] },
  lanes: [
    {
      lane: 0,
      spare: false,
      openTenants: 1,
      waitingTenants: 0,
      busyShare: 0.5,
      tenant: null,
      tenantForMs: 0,
    },
  ],
  transactions: { total: 0, open: [] },
  redis: {
    version: '7.0.15',
    roundTripMs: 0.4,
    usedMemoryBytes: 1024,
    maxMemoryBytes: 0,
    maxMemoryPolicy: 'noeviction',
    connectedClients: 1,
    commandsPerSecond: 3,
    aofEnabled: true,
    aofFsync: 'everysec',
    aofLastWriteOk: true,
    aofRewriteInProgress: false,
    rdbLastSaveOk: true,
    rdbLastSaveAt: 0,
  },
  wal: { largest: [], heldTotal: 0, held: [] },
  deadLetters: { waiting: 0, addedTotal: 0 },
  disk: { path: '/data', totalBytes: 100, freeBytes: 50, kind: 'local' },
  process: { startedAt: 0, rssBytes: 0, heapUsedBytes: 0, eventLoopDelayP99Ms: 1, writerThreadRestarts: 0 },
  history: {
    everyMs: 5_000,
    endsAt: 0,
    writesPerSecond: [0, 5, 10],
    commitP50Ms: [],
    commitP99Ms: [],
    depth: [],
  },
} as unknown as BrokerStatus;
it('says what is wrong first, with what to do, and then the figures', () => {
  const text = formatStatus({ ...SOURCE, status: STATUS }, VIEW);
  expect(text).toMatch(/^Onewriter {2}✗ 1 critical/);
  expect(text).toMatch(/✗ sick cannot be written: DATABASE_CORRUPT.*\n {2}→ /);
  expect(text).toMatch(/! The broker began to lead 0 s ago: writes of late waited for it, up to 7\.0 s/);
  expect(text).toContain('▁▄█ 10.0/s at most in 15 s');
  expect(text).toMatch(/^busy .*\nlate .*$/m);
});

it('shows the whole of what is wrong, on as many lines as it takes', () => {
  const message = `${'It happened, and this is why. '.repeat(10)}To continue: resume.`;
  const parked = { total: 1, tenants: [{ tenant: 'sick', code: 'TENANT_UNAVAILABLE', message, since: 0 }] };
  const text = formatStatus({ ...SOURCE, status: { ...STATUS, parked } }, { ...VIEW, width: 60 });
  expect(text.replaceAll(/\s+/g, ' ')).toContain(
    `${message} OnewriterTenantParked → ${nextForAlert('OnewriterTenantParked')}`,
  );
});

it('shows the process apart where it runs or is waited for, and says nothing of it where it is not needed', () => {
  const apart = {
    ...{ running: true, tenant: 'slow', tenantForMs: 3_000, waitingTenants: 2 },
    ...{ restarts: 1, replacements: 0, spentForMs: 0 },
  };
  const shown = (more: Partial<typeof apart>) =>
    formatStatus({ ...SOURCE, status: { ...STATUS, apart: { ...apart, ...more } } }, VIEW);
  expect(shown({})).toContain('apart slow for 3.0 s +2 waiting, ended 1 time');
  expect(shown({ running: false, waitingTenants: 0 })).not.toContain('apart slow');
});

it('says so where no broker leads', () => {
  const text = formatStatus({ ...SOURCE, status: undefined }, VIEW);
  expect(text).toContain('No broker runs');
});

it('fits the screen', () => {
  const lines = formatStatus({ ...SOURCE, status: STATUS }, { ...VIEW, colour: true, width: 40, height: 8 })
    .trimEnd()
    .split('\n');
  expect(lines).toHaveLength(8);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences that colour text
  for (const line of lines) expect(line.replace(/\u001b\[\d+m/g, '').length).toBeLessThanOrEqual(40);
});

it('cuts at the visible width', () => {
  expect(cut('abc', 3)).toBe('abc');
  expect(cut('abcd', 3)).toBe('ab…');
  expect(cut('\u001b[31mabcd\u001b[0m', 3)).toBe('\u001b[31mab…\u001b[0m');
});

it.each([
  [0, '0 s'],
  [119_000, '119 s'],
  [600_000, '10 min'],
  [11_100_000, '3 h 5 min'],
  [187_200_000, '2 d 4 h'],
])('%i ms is %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

it.each([
  [null, '-'],
  [0.84, '0.8 ms'],
  [250.4, '250 ms'],
  [1_500, '1.5 s'],
  [12_300, '12 s'],
])('%s is %s', (ms, text) => {
  expect(milliseconds(ms)).toBe(text);
});

it('shows who keeps a tenant still, and warns where writes wait for a person', () => {
  const pause = { name: 'pause', who: 'ada', reason: 'a move', since: null, expiresAt: null };
  const still = [
    { tenant: 'acme', waitingJobs: 3, holders: [pause] },
    { tenant: 'idle', waitingJobs: 0, holders: [{ ...pause, reason: '' }] },
    { tenant: 'bad', waitingJobs: 2, holders: [{ ...pause, name: 'repeat-offender' }] },
  ];
  for (const status of [STATUS, undefined]) {
    const text = formatStatus({ ...SOURCE, status } as never, { ...VIEW, still });
    expect(text).toContain('held     acme: pause by ada (a move), 3 jobs wait\n');
    expect(text).toContain('held     idle: pause by ada\n');
    expect(text).toContain('acme is paused by ada (a move) and 3 jobs wait in its queue.');
    expect(text).not.toContain('idle is paused');
    expect(text).not.toContain('bad:');
  }
  expect(nextForAlert('OnewriterTenantPaused')).toContain('onewriter tenants resume');
});
