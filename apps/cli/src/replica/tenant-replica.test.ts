import type { StatusReplica, StatusReplicaTenant } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { findTenantReplica, formatTenantReplica, type TenantReplicaSources } from './tenant-replica.ts';

const row = (tenant: string, lagMs: number): StatusReplicaTenant => ({
  ...{ tenant, commitSeq: 7, commitAt: 5_000, lagCommits: 3, lagBytes: 2_048, lagMs, gaps: 1 },
  verifiedMs: 1_000,
});
const full = Array.from({ length: 50 }, (_, index) => row(`t${index}`, 1_500 + index));
const replica = (more: Partial<StatusReplica>) => ({ worst: [], ...more }) as unknown as StatusReplica;

function sources(more: Partial<TenantReplicaSources> = {}): TenantReplicaSources {
  return {
    stored: async () => ({ commitSeq: 9, commitAt: 8_000 }),
    inFile: () => 11,
    verified: () => ({ ok: true, problems: [], atMs: 2_000 }),
    ...more,
  };
}

const never = async () => {
  throw new Error('The store was asked.');
};

it('takes what the broker says, without asking the store', async () => {
  const facts = await findTenantReplica(
    'acme',
    replica({ worst: [row('acme', 900)] }),
    sources({ stored: never }),
  );
  expect(facts).toMatchObject({ commitSeq: 7, lagCommits: 3, lagBytes: 2_048, lagMs: 900, gaps: 1 });
  expect(formatTenantReplica(facts)).toBe(
    'tenant  acme\nstored  commit 7 of 1970-01-01T00:00:05Z\nbehind  0.9 s, 3 commits, 2.0 KiB\ngaps    1\n' +
      'test    restored 1970-01-01T00:00:01Z, sound\n',
  );
});

it('knows that a tenant is stored that would be listed otherwise', async () => {
  const facts = await findTenantReplica('acme', replica({}), sources());
  expect(facts).toMatchObject({ commitSeq: 9, lagCommits: 0, lagMs: 0, gaps: 0, verifiedAt: 2_000 });
  expect(formatTenantReplica(facts)).toContain('behind  up to date\n');
});

it('compares store and file where too many others are behind', async () => {
  const facts = await findTenantReplica('acme', replica({ worst: full }), sources());
  expect(facts).toMatchObject({ lagCommits: 2, lagBytes: null, lagMs: 1_500, gaps: null });
  expect(formatTenantReplica(facts)).toContain('behind  at most 1.5 s, 2 commits\ngaps    not known\n');
  const away = sources({ inFile: () => undefined, verified: () => undefined });
  const remote = await findTenantReplica('acme', replica({ worst: full }), away);
  expect(remote).toMatchObject({ lagCommits: null, lagMs: 1_500, verifiedAt: null });
  expect(formatTenantReplica(remote)).toContain(
    'behind  at most 1.5 s\ngaps    not known\ntest    never restored',
  );
});

it('says what is not sound', async () => {
  const failed = [{ tenant: 'acme', problems: ['a page differs'], commitSeq: 3, at: 4_000 }];
  const rehearsals = { failed } as unknown as StatusReplica['rehearsals'];
  const facts = await findTenantReplica('acme', replica({ rehearsals }), sources());
  expect(facts).toMatchObject({ verifiedAt: 4_000, problems: ['a page differs'] });
  expect(formatTenantReplica(facts)).toContain('1970-01-01T00:00:04Z, not sound: a page differs\n');
});
