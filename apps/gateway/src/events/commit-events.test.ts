import { expect, it } from 'vitest';
import type { ReadRequest, TenantReads } from '../reads/tenant-reads.ts';
import type { TenantFiles } from '../tenants/tenant-files.ts';
import { followCommits } from './commit-events.ts';

it('notices that the file is another where reads do not say which one they read', async () => {
  let file = 'before';
  const files = { incarnation: () => file, fingerprint: async () => file } as unknown as TenantFiles;
  const read = async ({ statements }: ReadRequest) => {
    const isBounds = statements[0]!.sql.includes('max(commit_seq)');
    return { results: [{ columns: [], rows: isBounds ? [[1, 5, 9]] : [] }], commitSeq: 9 };
  };
  const reads = { read } as unknown as TenantReads;
  const closing = new AbortController();
  const { signal } = closing;
  const events = followCommits({
    reads,
    files,
    tenant: 'acme',
    after: undefined,
    readTimeoutMs: 100,
    signal,
  });
  expect((await events.next()).value).toMatchObject({ type: 'ready', position: { incarnation: 'before' } });
  file = 'after';
  expect((await events.next()).value).toMatchObject({ type: 'gap', position: { incarnation: 'after' } });
  closing.abort();
  await events.return();
});
