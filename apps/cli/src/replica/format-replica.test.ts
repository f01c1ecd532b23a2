import type { StatusReplica, StatusReplicaStore } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { formatReplica } from './format-replica.ts';

const NOW = Date.UTC(2026, 0, 2, 12);
const HOUR_MS = 3_600_000;
const STORE: StatusReplicaStore = {
  ...{ address: 's3://bucket/a', ok: true, bytesOut: 0, bytesIn: 0 },
  requests: { get: 1, put: 2, delete: 3, list: 0 },
};
const REPLICA: StatusReplica = {
  stores: [STORE],
  ...{ available: true, term: 1, packs: 5, tenants: 2, lagMs: 0, lagBytes: 0, bufferBytes: 100, gaps: 0 },
  ...{ waitingJobs: 0, worst: [] },
};
const REHEARSALS = { sound: 3, unsound: 0, unverified: 0, failedTenants: 0, failed: [] };

it('shows the facts in one line where all is well', () => {
  const rehearsals = { ...REHEARSALS, lastAt: NOW - 60_000, oldestAt: NOW - 20 * HOUR_MS };
  const text = formatReplica({ ...REPLICA, rehearsals }, NOW);
  expect(text.trimEnd().split('\n').at(-1)).toBe(
    '2 tenants, up to date; pack 5 of term 1; last test restore 1 min ago, the oldest 20 h ago',
  );
  const none = formatReplica({ ...REPLICA, rehearsals: { ...REHEARSALS, lastAt: NOW, oldestAt: null } }, NOW);
  expect(none).toContain('; no tenant was restored for a test yet\n');
});

it('shows how far a copy is behind, and why', () => {
  const copy = (more: Partial<NonNullable<StatusReplicaStore['copy']>>) =>
    formatReplica(
      { ...REPLICA, stores: [STORE, { ...STORE, copy: { behindPacks: 0, behindMs: 0, ...more } }] },
      NOW,
    );
  expect(copy({})).not.toContain('behind');
  expect(copy({ behindPacks: 7, behindMs: 2_500 })).toContain('2.5 s behind, 7 packs');
  expect(copy({ behindPacks: null, behindMs: 9_000, error: 'No rights.' })).toContain(
    '9.0 s behind: No rights.',
  );
});

it('names what is not sound, and what failed', () => {
  const text = formatReplica(
    {
      ...REPLICA,
      failures: [
        { tenant: 'big', message: 'No room.', at: NOW },
        { tenant: '', message: 'No pack.', at: NOW },
      ],
      rehearsals: {
        ...{ ...REHEARSALS, lastAt: NOW, oldestAt: NOW, unverified: 4, failedTenants: 1 },
        failed: [{ tenant: 'acme', problems: ['a page differs'], commitSeq: 3, at: NOW }],
      },
    },
    NOW,
  );
  expect(text).toContain('4 tenants without one, 1 not sound\n');
  expect(text).toContain('not sound  acme: a page differs (2026-01-02T12:00:00)\n');
  expect(text).toContain('failed     big: No room. (2026-01-02T12:00:00)\nfailed     No pack. (');
});
