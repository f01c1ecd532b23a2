import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { noteHibernated, tenantFile } from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { restoreTenant } from './restore-tenant.ts';

it('asks for a hibernated tenant to be brought back, not where its file is here and only a note is left', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-restore-tenant-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const place = { dataDir, group: 'default', dbFile: 'tenant.db', busyTimeoutMs: 100 };
  const limits = { maxMemoryBytes: 0, timeoutMs: 0 } as never;
  const restore = () =>
    restoreTenant(place, {
      ...{ backup: '/none', tenant: 'acme', replace: false, leavePaused: false, redis: undefined },
      ...{ who: 'a test', limits },
    });
  noteHibernated(dataDir, 'acme', { commitSeq: 1, bytes: 1, since: '', who: '' });
  await expect(restore()).rejects.toMatchObject({ code: 'TENANT_BUSY', message: /onewriter wake acme/ });
  const file = tenantFile(dataDir, 'acme', 'tenant.db');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, '');
  await expect(restore()).rejects.toMatchObject({ code: 'TENANT_BUSY', message: /has a file already/ });
});
