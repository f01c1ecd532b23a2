import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { compactInProcess } from './compact-in-process.ts';

/* Against the built package: it is compacted by a process of it. */

test('removes the keys that a killed process left, also where it has none to give', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-compact-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  for (const name of ['store', 'replica', 'tenants']) mkdirSync(join(dataDir, name));
  const keys = join(dataDir, 'replica', 'tenant-keys.json');
  writeFileSync(keys, '[]');
  const made = await compactInProcess({
    place: { dataDir, group: 'test', dbFile: 'tenant.db', busyTimeoutMs: 1_000 },
    access: { url: pathToFileURL(join(dataDir, 'store')).href, masterKeys: [], keys: 'one' },
    ...{ term: 1, retentionMs: 1, elapsedMs: 0, tenantKeys: [] },
  });
  expect(made.packs).toEqual([]);
  expect(existsSync(keys)).toBe(false);
}, 60_000);
