import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { checkRights } from './check-rights.ts';

it('names what other users of the machine may read', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-rights-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const folder = join(dataDir, 'tenants', 'acme');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'tenant.db');
  writeFileSync(file, '');
  for (const path of [dataDir, folder]) chmodSync(path, 0o755);
  chmodSync(file, 0o644);
  expect(checkRights(dataDir)).toMatchObject({ level: 'warning', found: expect.stringContaining(file) });
  chmodSync(file, 0o660);
  expect(checkRights(dataDir).level).toBe('ok');
  chmodSync(file, 0o604);
  expect(checkRights(dataDir).level).toBe('warning');
  chmodSync(folder, 0o770);
  expect(checkRights(dataDir).level).toBe('ok');
  chmodSync(folder, 0o755);
  chmodSync(dataDir, 0o700);
  expect(checkRights(dataDir).level).toBe('ok');
});
