import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { noteKnownDatabase, tenantFile } from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { HeldFiles } from './held-files.ts';

it('takes a file that is moved away, or cannot be looked at, for neither deleted nor replaced', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-held-files-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const changes: string[] = [];
  const held = new HeldFiles({ dataDir, dbFile: 'tenant.db' }, ({ kind }) => changes.push(kind));
  const file = tenantFile(dataDir, 'acme');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, 'a');
  noteKnownDatabase(dataDir, 'acme');
  held.held('acme');
  rmSync(dirname(file), { recursive: true });
  expect(held.freed('acme')).toBeUndefined();
  // Also for root a loop cannot be followed.
  symlinkSync(dirname(file), dirname(file));
  held.held('acme');
  expect(held.freed('acme')).toBeUndefined();
  held.held('acme');
  rmSync(dirname(file));
  mkdirSync(dirname(file));
  writeFileSync(file, 'a');
  expect(held.freed('acme')).toBe('replaced');
  expect(changes).toEqual(['replaced']);
});
