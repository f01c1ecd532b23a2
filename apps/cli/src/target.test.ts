import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { dataDirTrouble, findTarget } from './target.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-target-'));
  for (const name of ['empty', 'home/documents', 'tenants-alone/tenants', 'fresh', 'made']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  writeFileSync(join(folder, 'fresh/epoch'), '1\n');
  writeFileSync(join(folder, 'made/token-secret'), 'x');
  writeFileSync(join(folder, 'file'), 'x');
});

afterEach(() => vi.unstubAllEnvs());

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each([
  ['missing', /^There is no folder .*missing\.$/],
  ['file', /file is no folder\.$/],
  ['empty', /empty is empty\.$/],
  ['home', /home is no data directory of Onewriter/],
])('says of %s why it is no data directory', (name, says) => {
  expect(dataDirTrouble(join(folder, name))).toMatch(says);
});

it.each(['tenants-alone', 'fresh', 'made'])('takes %s, in which something of a data directory is', name => {
  expect(dataDirTrouble(join(folder, name))).toBeUndefined();
});

it('finds the replica of the stack that runs, unless a variable names another', () => {
  const run = { redisUrl: 'redis://127.0.0.1:1', pids: {}, replicaUrl: 's3://bucket/running' };
  writeFileSync(join(folder, 'made/onewriter.json'), JSON.stringify(run));
  vi.stubEnv('ONEWRITER_REPLICA_URL', '');
  expect(findTarget(join(folder, 'made')).config.replicaUrl).toBe('s3://bucket/running');
  vi.stubEnv('ONEWRITER_REPLICA_URL', 's3://bucket/other');
  expect(findTarget(join(folder, 'made')).config.replicaUrl).toBe('s3://bucket/other');
});
