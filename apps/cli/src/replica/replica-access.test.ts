import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '@onewriter/runtime';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { replicaAccess } from './replica-access.ts';

const NEW_KEY = Buffer.alloc(32, 1).toString('base64');
const FORMER_KEY = Buffer.alloc(32, 2).toString('base64');
const URL = 'file:///store';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-replica-access-'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('opens what was stored under a former key, too', () => {
  const config = loadConfig({ ONEWRITER_REPLICA_KEY: `${NEW_KEY},${FORMER_KEY}` });
  expect(replicaAccess(config, URL).masterKeys).toEqual([NEW_KEY, FORMER_KEY]);
});

it('takes the keys of a file', () => {
  const path = join(folder, 'keys');
  writeFileSync(path, `${NEW_KEY},${FORMER_KEY}\n`);
  const config = loadConfig({ ONEWRITER_REPLICA_KEY_FILE: path });
  expect(replicaAccess(config, URL).masterKeys).toEqual([NEW_KEY, FORMER_KEY]);
});

it.each([
  ['is not there', undefined, /ONEWRITER_REPLICA_KEY_FILE cannot be read/],
  ['holds no key', 'c2hvcnQ=', /does not hold 32 bytes/],
])('refuses a file that %s', (_, text, says) => {
  const path = join(folder, 'other');
  if (text !== undefined) writeFileSync(path, text);
  const config = loadConfig({ ONEWRITER_REPLICA_KEY_FILE: path });
  expect(() => replicaAccess(config, URL)).toThrow(says);
});

it('names what to give where no replica is known', () => {
  expect(() => replicaAccess(loadConfig({}))).toThrow(/--from s3:\/\/bucket\/prefix/);
});

it('reads the first of several stores, without a key where none is set', () => {
  const config = loadConfig({ ONEWRITER_REPLICA_URL: `${URL},s3://copies` });
  expect(replicaAccess(config)).toEqual({ url: URL, masterKeys: [], keys: 'one' });
});
