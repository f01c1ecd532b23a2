import type { BrokerStatus, StatusReplica, StatusReplicaTenant } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { toText } from './html.ts';
import { replicaLine } from './replica.ts';

const NOW = 1e12;
const row = (tenant: string): StatusReplicaTenant => ({
  ...{ tenant, commitSeq: 7, commitAt: 5_000, lagCommits: 3, lagBytes: 2_048, lagMs: 9_000, gaps: 0 },
});
const REHEARSALS = {
  ...{ lastAt: NOW, oldestAt: NOW - 7_200_000, unverified: 0, sound: 2, unsound: 0 },
  ...{ failedTenants: 0, failed: [] },
};

function line(replica: Partial<StatusReplica> | undefined) {
  const status = { replica: replica && { worst: [], ...replica } } as unknown as BrokerStatus;
  return toText(replicaLine('acme', null, status, NOW)).replaceAll(/<[^>]*>/g, '');
}

it('says how far behind a tenant is, and when it was restored for a test', () => {
  expect(line(undefined)).toContain('there is none');
  expect(line({ worst: [{ ...row('acme'), verifiedMs: NOW - 60_000 }] })).toMatch(
    /9 s behind, 3 commits, .*, last test restore .* ago/,
  );
  expect(line({ worst: [row('acme')] })).toContain('no sound test restore yet');
});

it('says what holds for tenants that the status does not list', () => {
  expect(line({})).toContain('Replica: up to date. ');
  expect(line({ rehearsals: REHEARSALS })).toMatch(/up to date, last test restore at most 2\S* h ago/);
  expect(line({ rehearsals: { ...REHEARSALS, unverified: 1 } })).toContain('Replica: up to date. ');
  const worst = Array.from({ length: 50 }, (_, index) => row(`t${index}`));
  expect(line({ worst })).toContain('at most 9 s behind');
});

it('says that a replica is not sound, and why', () => {
  const failed = [{ tenant: 'acme', problems: ['a page differs'], commitSeq: 3, at: NOW - 60_000 }];
  expect(line({ rehearsals: { ...REHEARSALS, failed } })).toContain('Not sound: a page differs');
  expect(line({ rehearsals: REHEARSALS })).not.toContain('Not sound');
});
