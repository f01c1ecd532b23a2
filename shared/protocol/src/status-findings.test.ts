import { expect, it } from 'vitest';
import type { BrokerStatus, StatusApart, StatusTenant } from './broker-status.ts';
import type { StatusRehearsals, StatusReplica } from './replica-status.ts';
import { findStatusProblems, type StatusSource } from './status-findings.ts';

const GB = 1024 ** 3;

const STATUS: BrokerStatus = {
  v: 1,
  at: 3_600_000,
  leader: { broker: 'b-1', host: 'h', pid: 1, epoch: 1, since: 0, leaseHeld: true },
  writes: {
    windowMs: 10_000,
    perSecond: 100,
    failedPerSecond: 0,
    batchesPerSecond: 10,
    commitP50Ms: 1,
    commitP99Ms: 5,
    delayP50Ms: 2,
    delayP99Ms: 9,
    total: 1_000,
    failedTotal: 0,
  },
  queue: { waitingJobs: 0, heldJobs: 0, depth: 0 },
  tenants: {
    windowMs: 15_000,
    active: 0,
    open: 0,
    known: 0,
    writesPerSecond: 0,
    busiest: [],
    slowest: [],
    delayed: [],
    deepest: [],
  },
  parked: { total: 0, tenants: [] },
  lanes: [
    { lane: 0, spare: false, openTenants: 1, waitingTenants: 0, busyShare: 0, tenant: null, tenantForMs: 0 },
  ],
  transactions: { total: 0, open: [] },
  redis: {
    version: '7.0.15',
    roundTripMs: 0.2,
    usedMemoryBytes: 1,
    maxMemoryBytes: 0,
    maxMemoryPolicy: 'noeviction',
    connectedClients: 3,
    commandsPerSecond: 10,
    aofEnabled: true,
    aofFsync: 'everysec',
    aofLastWriteOk: true,
    aofRewriteInProgress: false,
    rdbLastSaveOk: true,
    rdbLastSaveAt: 0,
  },
  wal: { largest: [], heldTotal: 0, held: [] },
  deadLetters: { waiting: 0, addedTotal: 0 },
  disk: { path: '/data', totalBytes: 100 * GB, freeBytes: 50 * GB, kind: 'local' },
  process: {
    startedAt: 0,
    rssBytes: 1,
    heapUsedBytes: 1,
    eventLoopDelayP99Ms: 1,
    writerThreadRestarts: 0,
  },
  history: { everyMs: 5_000, endsAt: 0, writesPerSecond: [], commitP50Ms: [], commitP99Ms: [], depth: [] },
};

const APART: StatusApart = {
  ...{ running: true, tenant: null, tenantForMs: 0, waitingTenants: 0 },
  ...{ restarts: 0, replacements: 0, spentForMs: 0 },
};

const TENANT: StatusTenant = {
  tenant: 'acme',
  writesPerSecond: 1,
  failedPerSecond: 0,
  batchesPerSecond: 1,
  busyShare: 0,
  meanBatchMs: 1,
  maxBatchMs: 1,
  maxDelayMs: 1,
  queuedJobs: 1,
  walBytes: 0,
};

const REPLICA: StatusReplica = {
  stores: [
    {
      ...{ address: 's3://bucket/a', ok: true, bytesOut: 0, bytesIn: 0 },
      requests: { get: 0, put: 0, delete: 0, list: 0 },
    },
  ],
  ...{ available: true, term: 1, packs: 5, tenants: 2, lagMs: 900, lagBytes: 0, bufferBytes: 100, gaps: 0 },
  ...{ waitingJobs: 0, worst: [] },
};
const STORE = REPLICA.stores[0]!;
const DAY_MS = 86_400_000;
const REHEARSALS: StatusRehearsals = {
  ...{ lastAt: STATUS.at - DAY_MS, oldestAt: STATUS.at - 5 * DAY_MS, unverified: 0, sound: 5, unsound: 0 },
  ...{ failedTenants: 0, failed: [] },
};
const UNSOUND: StatusRehearsals = {
  ...REHEARSALS,
  failedTenants: 1,
  failed: [{ tenant: 'acme', problems: ['a page differs'], commitSeq: 4, at: STATUS.at }],
};
const DOWN = { ...STORE, ok: false, failingSince: STATUS.at - 20_000, error: 'refused' };
const BEHIND = {
  tenant: 'acme',
  commitSeq: 1,
  commitAt: 0,
  lagCommits: 2,
  lagBytes: 9,
  lagMs: 70_000,
  gaps: 1,
};

function find(change: Partial<BrokerStatus>) {
  const status = { ...STATUS, ...change };
  return findStatusProblems({
    readAt: 0,
    status,
    brokers: [{ state: 'leading' }],
    lease: {},
    problem: undefined,
  });
}

it('finds nothing where all is well', () => {
  expect(find({})).toEqual([]);
});

it.each<[string, Partial<BrokerStatus>, string | undefined]>([
  ['OnewriterNoLeader', { leader: { ...STATUS.leader, leaseHeld: false } }, undefined],
  ['OnewriterRedisEvicts', { redis: { ...STATUS.redis, maxMemoryPolicy: 'allkeys-lru' } }, undefined],
  ['OnewriterRedisNotDurable', { redis: { ...STATUS.redis, aofEnabled: false } }, undefined],
  ['OnewriterRedisNotDurable', { redis: { ...STATUS.redis, aofLastWriteOk: false } }, undefined],
  ['OnewriterRedisMemory', { redis: { ...STATUS.redis, maxMemoryBytes: 10, usedMemoryBytes: 9 } }, undefined],
  ['OnewriterDiskFull', { disk: { ...STATUS.disk, freeBytes: 5 * GB } }, undefined],
  ['OnewriterCommitsSlow', { writes: { ...STATUS.writes, commitP99Ms: 300 } }, undefined],
  ['OnewriterEventLoopSlow', { process: { ...STATUS.process, eventLoopDelayP99Ms: 900 } }, undefined],
  ['OnewriterReplicaStoreDown', { replica: { ...REPLICA, stores: [DOWN] } }, undefined],
  ['OnewriterReplicaLag', { replica: { ...REPLICA, lagMs: 70_000, worst: [BEHIND] } }, 'acme'],
  ['OnewriterReplicaBuffer', { replica: { ...REPLICA, lagBytes: 81 } }, undefined],
  ['OnewriterReplicaGap', { replica: { ...REPLICA, gaps: 1, worst: [BEHIND] } }, 'acme'],
  [
    'OnewriterReplicaCopyBehind',
    { replica: { ...REPLICA, stores: [STORE, { ...STORE, copy: { behindPacks: 5, behindMs: 3_600_001 } }] } },
    undefined,
  ],
  ['OnewriterReplicaDamaged', { replica: { ...REPLICA, damaged: { found: 1, tenants: ['acme'] } } }, 'acme'],
  ['OnewriterReplicaUnsound', { replica: { ...REPLICA, rehearsals: UNSOUND } }, 'acme'],
  [
    'OnewriterReplicaUnverified',
    { replica: { ...REPLICA, rehearsals: { ...REHEARSALS, lastAt: STATUS.at - 3 * DAY_MS } } },
    undefined,
  ],
  ['OnewriterDeadLetters', { deadLetters: { waiting: 1, addedTotal: 1 } }, undefined],
  [
    'OnewriterTooFewOpenFiles',
    {
      files: { maxOpenTenants: 512, evictedPerSecond: 300 },
      writes: { ...STATUS.writes, batchesPerSecond: 400 },
    },
    undefined,
  ],
  [
    'OnewriterTenantParked',
    {
      parked: {
        total: 1,
        tenants: [{ tenant: 'acme', code: 'DATABASE_FULL', message: 'The disk is full.', since: 0 }],
      },
    },
    'acme',
  ],
  [
    'OnewriterWritesDelayed',
    { tenants: { ...STATUS.tenants, delayed: [{ ...TENANT, maxDelayMs: 9_000 }] } },
    'acme',
  ],
  [
    'OnewriterQueueDeep',
    { tenants: { ...STATUS.tenants, deepest: [{ ...TENANT, queuedJobs: 900 }] } },
    'acme',
  ],
  ['OnewriterLaneHeld', { lanes: [{ ...STATUS.lanes[0]!, tenant: 'acme', tenantForMs: 9_000 }] }, 'acme'],
  [
    'OnewriterApartHeld',
    { apart: { ...APART, tenant: 'acme', tenantForMs: 9_000, waitingTenants: 1 } },
    'acme',
  ],
  ['OnewriterTooManyReplacements', { apart: { ...APART, replacements: 5, spentForMs: 1 } }, undefined],
  [
    'OnewriterWalHeld',
    {
      wal: {
        largest: [],
        heldTotal: 1,
        held: [
          {
            tenant: 'acme',
            bytes: 32 * 1024 ** 2,
            since: 0,
            readers: [{ pid: 7, command: 'node report.js' }],
          },
        ],
      },
    },
    'acme',
  ],
])('finds %s', (alert, change, tenant) => {
  const findings = find(change);
  expect(findings.map(finding => [finding.alert, finding.tenant])).toEqual([[alert, tenant]]);
  expect(findings[0]?.text).toMatch(/^\S.*\.$/);
});

it('distinguishes a disk that is nearly full from one that is filling up, and puts the critical finding first', () => {
  const deadLetters = { waiting: 2, addedTotal: 2 };
  const levels = (freeBytes: number) =>
    find({ deadLetters, disk: { ...STATUS.disk, freeBytes } }).map(({ level, alert }) => `${level} ${alert}`);
  expect(levels(5 * GB)).toEqual(['warning OnewriterDiskFull', 'warning OnewriterDeadLetters']);
  expect(levels(2 * GB)).toEqual(['critical OnewriterDiskFull', 'warning OnewriterDeadLetters']);
});

it('says nothing of tenants that are closed for others now and then', () => {
  const busy = { ...STATUS.writes, batchesPerSecond: 1_000 };
  const findings = (evictedPerSecond: number, writes = busy) =>
    find({ files: { maxOpenTenants: 512, evictedPerSecond }, writes }).map(({ alert }) => alert);
  expect(findings(90)).toEqual([]);
  expect(findings(5, STATUS.writes)).toEqual([]);
  expect(findings(110)).toEqual(['OnewriterTooFewOpenFiles']);
});

it('says nothing of a process apart for which no other tenant waits, or whose work is short', () => {
  for (const change of [
    { tenant: 'acme', tenantForMs: 9_000 },
    { tenant: 'acme', tenantForMs: 500, waitingTenants: 3 },
    { replacements: 4, restarts: 9 },
  ])
    expect(find({ apart: { ...APART, ...change } })).toEqual([]);
});

it('is critical about the first store once nothing may wait for it, and not about a copy', () => {
  expect(find({ replica: REPLICA })).toEqual([]);
  expect(find({ replica: { ...REPLICA, available: false, stores: [DOWN] } })).toEqual([
    {
      level: 'critical',
      alert: 'OnewriterReplicaStoreDown',
      text: 'The store s3://bucket/a fails for 20 s: refused. Commits stay on this machine, and writes that wait for the replica are refused.',
    },
  ]);
  expect(find({ replica: { ...REPLICA, stores: [STORE, DOWN] } })[0]).toMatchObject({
    level: 'warning',
    text: 'The store s3://bucket/a fails for 20 s: refused. The others have everything.',
  });
});

it('says what is wrong with a copy, and with the replica of a tenant, and nothing once that is over', () => {
  const copy = { behindPacks: null, behindMs: 2 * 3_600_000, error: 'No rights.' };
  const texts = (change: Partial<StatusReplica>) =>
    find({ replica: { ...REPLICA, ...change } }).map(({ level, text }) => `${level} ${text}`);
  expect(texts({ stores: [STORE, { ...STORE, copy }] })).toEqual([
    'warning The copy s3://bucket/a is 120 min behind the first store: No rights.',
  ]);
  expect(texts({ stores: [STORE, { ...STORE, copy: { ...copy, behindMs: 3_600_000 } }] })).toEqual([]);
  expect(texts({ rehearsals: UNSOUND })).toEqual([
    'critical The replica of acme is not sound: a page differs.',
  ]);
  expect(texts({ rehearsals: REHEARSALS })).toEqual([]);
  const lastAt = STATUS.at - 3 * DAY_MS;
  expect(texts({ rehearsals: { ...REHEARSALS, lastAt, oldestAt: null } })).toEqual([]);
  expect(texts({ rehearsals: { ...REHEARSALS, lastAt, oldestAt: null, unverified: 1 } })).toEqual([
    'warning No tenant was restored for a test for 72 h: whether the replica is sound is not known.',
  ]);
});

it('names hibernated tenants that do not come back', () => {
  const hibernation = { tenants: 9, waking: 1, failing: 1, failed: [{ tenant: 'acme', message: 'away.' }] };
  expect(find({ hibernation: { ...hibernation, failing: 0, failed: [] } })).toEqual([]);
  expect(find({ hibernation })).toMatchObject([
    {
      level: 'critical',
      alert: 'OnewriterWakesFail',
      tenant: 'acme',
      text: expect.stringMatching(/of acme .*: away\.$/),
    },
  ]);
  const [many] = find({ hibernation: { ...hibernation, failing: 3 } });
  expect([many?.tenant, many?.text]).toEqual([
    undefined,
    expect.stringContaining('3 hibernated tenants (such as acme)'),
  ]);
});

it('names what is missing when no broker reports', () => {
  const none: StatusSource = {
    readAt: 0,
    status: undefined,
    brokers: [],
    lease: undefined,
    problem: undefined,
  };
  const textOf = (source: StatusSource) => findStatusProblems(source).map(({ text }) => text);
  expect(textOf(none)).toEqual([expect.stringContaining('No broker runs')]);
  expect(textOf({ ...none, brokers: [{ state: 'standby' }] })).toEqual([
    expect.stringContaining('No broker leads'),
  ]);
  expect(textOf({ ...none, lease: {} })).toEqual([expect.stringContaining('does not report')]);
  expect(textOf({ ...none, lease: {}, problem: 'Version 2.' })).toEqual(['Version 2.']);
});

it('says once why the writes of many tenants are late', () => {
  const delayed = Array.from({ length: 8 }, (_, index) => ({
    ...TENANT,
    tenant: `t${index}`,
    maxDelayMs: 9_000 - index,
  }));
  const tenants = { ...STATUS.tenants, delayed };
  const summaries = (change: Partial<BrokerStatus>) =>
    find({ tenants, ...change }).map(({ alert, text, tenant }) => [alert, text, tenant]);
  expect(summaries({ leader: { ...STATUS.leader, since: STATUS.at - 4_000 } })).toEqual([
    [
      'OnewriterWritesDelayed',
      'The broker began to lead 4 s ago: writes of 8 tenants waited for it, up to 9.0 s.',
      undefined,
    ],
  ]);
  expect(summaries({ process: { ...STATUS.process, eventLoopDelayP99Ms: 900 } })).toEqual([
    ['OnewriterEventLoopSlow', expect.stringContaining('lacks CPU'), undefined],
    ['OnewriterWritesDelayed', expect.stringContaining('8 tenants take up to 9.0 s'), undefined],
  ]);
  expect(summaries({ tenants: { ...tenants, delayed: delayed.slice(0, 2) } }).map(row => row[2])).toEqual([
    't0',
    't1',
  ]);
});

it('names ten parked tenants and counts the rest', () => {
  const tenants = Array.from({ length: 50 }, (_, index) => ({
    tenant: `t${index}`,
    code: 'DATABASE_CORRUPT',
    message: 'damaged',
    since: index,
  }));
  const findings = find({ parked: { total: 300, tenants } });
  expect(findings).toHaveLength(11);
  expect(findings.at(-1)?.text).toContain('290 more');
});
