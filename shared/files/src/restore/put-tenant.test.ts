import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import { takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { loadTenant } from '../load/load-tenant.ts';
import { runJob } from '../processes/run-job.ts';

const held = vi.hoisted(() => ({ end: async () => {} }));
const gone = () => Promise.reject(new Error('Redis is gone.'));

vi.mock('@onewriter/tenants', async original => ({
  ...(await original<typeof import('@onewriter/tenants')>()),
  isTenantPaused: () => gone(),
  withHeldTenant: async (
    ...[, , , , work]: Parameters<typeof import('@onewriter/tenants').withHeldTenant>
  ) => {
    const result = await work({
      assertHeld: async () => {},
      beginChange: async () => {},
      countJobs: () => gone(),
    });
    await held.end();
    return result;
  },
}));
vi.mock('../processes/job-processes.ts', () => ({
  runOneJob: (settings: Parameters<typeof runJob>[0], tenant: string) =>
    runJob(settings, { tenant }, undefined, () => {}),
}));

let place: { dataDir: string; group: string; dbFile: string; busyTimeoutMs: number };

beforeEach(() => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-put-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  place = { dataDir, group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 50 };
  writeFileSync(join(dataDir, 'dump.sql'), 'CREATE TABLE t(a); INSERT INTO t VALUES(1);');
});

it.each(['new', 'replace', 'add'])('says what is in place where Redis fails after that: %s', async where => {
  const file = tenantFile(place.dataDir, 'acme');
  if (where !== 'new') {
    mkdirSync(dirname(file), { recursive: true });
    const db = new Database(file);
    takeEpoch(db, 1);
    db.close();
  }
  held.end = gone;
  const redis = { get: async () => null } as never;
  const limits = { timeoutMs: () => 1_000, memoryBytes: 1 };
  const report = await loadTenant(place, {
    ...{
      tenant: 'acme',
      source: join(place.dataDir, 'dump.sql'),
      format: 'sql',
      name: 'dump.sql',
      who: 'test',
    },
    ...{ replace: where === 'replace', mayCreate: true, redis, limits },
  });
  expect(report).toMatchObject({ rows: 1, loadedBefore: false });
  expect(report.warnings.join()).toMatch(/in place, and what came afterwards failed \(Redis is gone/);
  const db = new Database(realDatabasePath(file), { readonly: true });
  expect(db.prepare('SELECT a FROM t').pluck().all()).toEqual([1]);
  db.close();
  // What was added to is in the new file; a large tenant must not grow with each small addition.
  const kept = readdirSync(dirname(file)).filter(name => /restoring|replaced-[^-]*$/.test(name));
  expect(kept).toHaveLength(where === 'replace' ? 1 : 0);
  expect(report.replaced === null).toBe(where !== 'replace');
});
