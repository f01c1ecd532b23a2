import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  type BranchRequest,
  branchRequestKey,
  isHibernated,
  isKnownDatabase,
  noteFormerDatabase,
  noteKnownDatabase,
  readHibernated,
  tenantFile,
} from '@onewriter/protocol';
import type { ToReplicator } from '@onewriter/replicator';
import { expect, it, onTestFinished } from 'vitest';
import type { RedisLink } from '../queue/redis-link.ts';
import { BranchRequests } from './branch-requests.ts';

const KEY = branchRequestKey('default', 'branch');
const AT = { tenant: 'acme', pos: 4, commitSeq: 3, epoch: 1, atMs: 77 };
const REQUEST: BranchRequest = { id: '1', from: 'acme', who: 'alice' };

function createWorld(available = true) {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-branch-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const redis = new Map<string, string>();
  const link = {
    retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
    call: async (command: string, key: string, value: string) => {
      if (command === 'GET') return redis.get(key) ?? null;
      if (redis.has(key)) redis.set(key, value);
      return 'OK';
    },
  } as unknown as RedisLink;
  const noted: ToReplicator[] = [];
  const log = { info: () => {}, error: () => {} } as never;
  const shipping = { available, note: (message: ToReplicator) => void noted.push(message) };
  const config = { dataDir, dbFile: 'tenant.db', group: 'default' };
  const requests = new BranchRequests({ link, config, shipping, log });
  const ask = async (request = REQUEST) => {
    redis.set(KEY, JSON.stringify(request));
    await requests.onNotified('branch');
  };
  const answer = () => (JSON.parse(redis.get(KEY) ?? 'null') as BranchRequest | null)?.answer;
  const makeFile = (tenant: string) => {
    const file = tenantFile(dataDir, tenant, 'tenant.db');
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, 'x'.repeat(512));
  };
  return { dataDir, redis, noted, requests, ask, answer, makeFile };
}

it('has a branch stored, once for each request, then notes where it is, and answers', async () => {
  const { dataDir, noted, requests, ask, answer, makeFile } = createWorld();
  makeFile('acme');
  await ask();
  await requests.onNotified('branch');
  expect(noted).toEqual([
    { kind: 'base', tenant: 'branch', from: 'acme', at: undefined, bytes: 512, request: '1' },
  ]);
  expect([isHibernated(dataDir, 'branch'), answer()]).toEqual([false, undefined]);
  await requests.onBased({ kind: 'based', tenant: 'branch', at: AT, bytes: 512 });
  expect(answer()).toEqual({ kind: 'done', at: AT, bytes: 512 });
  expect(readHibernated(dataDir, 'branch')).toMatchObject({ commitSeq: 3, bytes: 512, who: 'alice' });
  expect(isKnownDatabase(dataDir, 'branch')).toBe(true);
  // Answered.
  await requests.onNotified('branch');
  expect(noted).toHaveLength(1);
});

it('refuses what it cannot store, and a name that is taken', async () => {
  const away = createWorld(false);
  await away.ask();
  expect([away.answer()?.kind, away.noted]).toEqual(['refused', []]);
  const taken = createWorld();
  taken.makeFile('branch');
  await taken.ask();
  expect([taken.answer()?.kind, taken.noted]).toEqual(['refused', []]);
  const refused = createWorld();
  await refused.ask();
  await refused.requests.onBased({ kind: 'based', tenant: 'branch', refused: 'nothing is stored' });
  expect(refused.answer()).toEqual({ kind: 'refused', reason: 'nothing is stored' });
  expect(isHibernated(refused.dataDir, 'branch')).toBe(false);
});

it('takes nothing that is no request, and leaves nothing for a caller who is gone', async () => {
  const { redis, noted, requests, ask } = createWorld();
  await requests.onNotified('branch');
  for (const text of ['no JSON', '7', '{"from":"../x"}', 'null']) {
    redis.set(KEY, text);
    await requests.onNotified('branch');
  }
  expect(noted).toEqual([]);
  await ask();
  redis.clear();
  await requests.onBased({ kind: 'based', tenant: 'branch', at: AT, bytes: 1 });
  expect(redis.size).toBe(0);
});

it('leaves a file alone that came meanwhile', async () => {
  const { dataDir, requests, ask, makeFile } = createWorld();
  await ask();
  makeFile('branch');
  await requests.onBased({ kind: 'based', tenant: 'branch', at: AT, bytes: 1 });
  expect(isHibernated(dataDir, 'branch')).toBe(false);
});

it('answers a caller whose branch was stored by a leader that died', async () => {
  const { requests, noted, ask, answer } = createWorld();
  requests.onStarted([{ tenant: 'branch', at: AT, bytes: 9, request: '1' }]);
  await ask();
  expect([answer(), noted]).toEqual([{ kind: 'done', at: AT, bytes: 9 }, []]);
  // Another caller is refused.
  await ask({ ...REQUEST, id: '2' });
  expect(answer()).toMatchObject({ kind: 'refused' });
});

it('notes branches of a leader that died before it did, and none that were deleted, are awake, or were moved away', () => {
  const { dataDir, requests, makeFile } = createWorld();
  noteFormerDatabase(dataDir, 'deleted');
  makeFile('awake');
  noteKnownDatabase(dataDir, 'moved');
  const names = ['stored', 'deleted', 'awake', 'moved'];
  requests.onStarted(names.map(tenant => ({ tenant, at: AT, bytes: 9, request: '7' })));
  expect(names.filter(tenant => isHibernated(dataDir, tenant))).toEqual(['stored']);
});
