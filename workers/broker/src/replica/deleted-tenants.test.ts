import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  forgetKnownDatabase,
  noteFormerDatabase,
  noteHibernated,
  noteKnownDatabase,
  tenantFile,
} from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { findDeletedTenants } from './deleted-tenants.ts';

it('finds tenants that Onewriter deleted, and none whose file was moved away or never was here', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-deleted-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const place = { dataDir, dbFile: 'tenant.db' };
  const make = (tenant: string) => {
    const file = tenantFile(dataDir, tenant, place.dbFile);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, '');
    noteKnownDatabase(dataDir, tenant);
  };
  for (const tenant of ['there', 'deleted', 'again', 'moved']) make(tenant);
  // As a deletion does.
  for (const tenant of ['deleted', 'again']) {
    noteFormerDatabase(dataDir, tenant);
    forgetKnownDatabase(dataDir, tenant);
    rmSync(dirname(tenantFile(dataDir, tenant, place.dbFile)), { recursive: true });
  }
  make('again');
  rmSync(tenantFile(dataDir, 'moved', place.dbFile));
  // Restored here, and hibernated before a broker opened it.
  noteFormerDatabase(dataDir, 'hibernated');
  noteHibernated(dataDir, 'hibernated', { commitSeq: 1, bytes: 1, since: '', who: '' });
  const stored = ['there', 'deleted', 'again', 'moved', 'elsewhere', 'hibernated'];
  const found = [];
  for await (const tenant of findDeletedTenants(place, stored)) found.push(tenant);
  expect(found).toEqual(['deleted']);
});
