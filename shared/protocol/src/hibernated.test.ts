import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { assertMayMakeDatabase, forgetKnownDatabase, locateDatabase } from './database-file.ts';
import {
  countHibernated,
  forgetOldHibernated,
  isHibernated,
  listHibernated,
  noteHibernated,
  readHibernated,
} from './hibernated.ts';

let dataDir: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-hibernated-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
});

const NOTE = {
  commitSeq: 7,
  bytes: 4_096,
  since: '2026-11-30T12:00:00.000Z',
  who: 'a test',
  place: { pos: 9 },
};
const failing = (work: () => unknown) => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

it('removes what a killed process left of a tenant whose file is here, and not the note of a file that is about to go', () => {
  forgetOldHibernated(dataDir, 'acme');
  noteHibernated(dataDir, 'acme', NOTE);
  forgetOldHibernated(dataDir, 'acme');
  expect(isHibernated(dataDir, 'acme')).toBe(true);
  const before = new Date(Date.now() - 120_000);
  utimesSync(join(dataDir, 'hibernated/acme'), before, before);
  forgetOldHibernated(dataDir, 'acme');
  expect(isHibernated(dataDir, 'acme')).toBe(false);
});

it('notes a tenant, and forgets it with its file', async () => {
  expect([listHibernated(dataDir), readHibernated(dataDir, 'acme')]).toEqual([[], undefined]);
  expect(await countHibernated(dataDir)).toBe(0);
  noteHibernated(dataDir, 'acme', NOTE);
  noteHibernated(dataDir, 'bank', { ...NOTE, commitSeq: 8 });
  noteHibernated(dataDir, 'acme', { ...NOTE, bytes: 8_192 });
  expect(readHibernated(dataDir, 'acme')).toEqual({ ...NOTE, bytes: 8_192 });
  expect(listHibernated(dataDir)).toEqual(['acme', 'bank']);
  expect(await countHibernated(dataDir)).toBe(2);
  expect(readdirSync(join(dataDir, 'hibernated')).sort()).toEqual(['acme', 'bank']);
  forgetKnownDatabase(dataDir, 'acme');
  expect([isHibernated(dataDir, 'acme'), isHibernated(dataDir, 'bank')]).toEqual([false, true]);
});

it('keeps readers and writers from taking a hibernated tenant for a new or lost one', () => {
  noteHibernated(dataDir, 'acme', NOTE);
  const waking = {
    code: 'TENANT_WAKING',
    details: { tenant: 'acme', reason: 'hibernated', retryAfterMs: 100 },
  };
  expect(failing(() => locateDatabase(dataDir, 'acme', 'tenant.db'))).toMatchObject(waking);
  mkdirSync(join(dataDir, 'tenants/acme'), { recursive: true });
  expect(failing(() => locateDatabase(dataDir, 'acme', 'tenant.db'))).toMatchObject(waking);
  expect(failing(() => assertMayMakeDatabase(dataDir, 'acme', 'x'))).toMatchObject(waking);
  // A file that is there counts.
  writeFileSync(join(dataDir, 'tenants/acme/tenant.db'), '');
  expect(locateDatabase(dataDir, 'acme', 'tenant.db')).toMatchObject({ incarnation: '' });
});

it('says of a note that is damaged what to do, and takes it for one', () => {
  noteHibernated(dataDir, 'acme', NOTE);
  writeFileSync(join(dataDir, 'hibernated/acme'), '{"commit');
  expect(failing(() => readHibernated(dataDir, 'acme'))).toMatchObject({ code: 'TENANT_UNAVAILABLE' });
  expect(failing(() => assertMayMakeDatabase(dataDir, 'acme', 'x'))).toMatchObject({ code: 'TENANT_WAKING' });
});
