import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { hasBackupSince } from './find-backup.ts';

let out: string;

beforeEach(() => {
  out = mkdtempSync(join(tmpdir(), 'onewriter-backups-'));
  onTestFinished(() => rmSync(out, { recursive: true }));
  mkdirSync(join(out, 'acme'));
});

function add(
  name: string,
  manifest?: { takenAt: string; verified?: 'full' | 'quick'; group?: string },
): void {
  writeFileSync(join(out, 'acme', `${name}.db`), '');
  const json = JSON.stringify({ manifest: 2, sha256: '', group: 'main', ...manifest });
  if (manifest !== undefined) writeFileSync(join(out, 'acme', `${name}.json`), json);
}

const acme = { group: 'main', tenant: 'acme' };
const NOON = Date.parse('2026-11-21T12:00:00.000Z');

it('finds a backup of that moment or later, and no older one', () => {
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(false);
  add('older', { takenAt: '2026-11-21T11:59:59.999Z' });
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(false);
  add('then', { takenAt: '2026-11-21T12:00:00.000Z' });
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(true);
  expect(hasBackupSince(out, { group: 'main', tenant: 'other' }, NOON, 'full')).toBe(false);
});

it('does not count one that was verified less, nor one without a manifest', () => {
  add('plain');
  add('quick', { takenAt: '2026-11-21T13:00:00.000Z', verified: 'quick' });
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(false);
  expect(hasBackupSince(out, acme, NOON, 'quick')).toBe(true);
});

it('does not count one whose manifest cannot be read, and looks at the others', () => {
  add('damaged');
  writeFileSync(join(out, 'acme', 'damaged.json'), '{"manifest":2,');
  add('folder');
  mkdirSync(join(out, 'acme', 'folder.json'));
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(false);
  add('sound', { takenAt: '2026-11-21T13:00:00.000Z' });
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(true);
});

it('does not count one of another group, nor one from a clock that was ahead', () => {
  add('ahead', { takenAt: new Date(Date.now() + 60_000).toISOString() });
  add('others', { takenAt: '2026-11-21T13:00:00.000Z', group: 'staging' });
  add('undated', { takenAt: '' });
  expect(hasBackupSince(out, acme, NOON, 'full')).toBe(false);
});
