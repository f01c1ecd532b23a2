import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { readVerified, VerifiedTenants } from './verified-tenants.ts';

const SOUND = { ok: true, problems: [], pos: 5, commitSeq: 7, atMs: 50 };
let dataDir: string;
const path = () => join(dataDir, 'replica', 'verified.json');

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-verified-'));
  const folder = dataDir;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

it('keeps what was found for the next start', () => {
  const before = new VerifiedTenants(dataDir, 100);
  before.note('acme', SOUND);
  before.note('constructor', { ...SOUND, ok: false, problems: ['no'] });
  before.note('gone', SOUND);
  before.forget('gone');
  before.save(100_000);
  const after = new VerifiedTenants(dataDir, 999);
  expect(after.sinceMs).toBe(100);
  expect([...after.all]).toEqual([...before.all]);
  expect(readVerified(dataDir, 'acme')).toEqual(SOUND);
  expect(readVerified(dataDir, 'toString')).toBeUndefined();
  expect(readVerified(join(dataDir, 'none'), 'acme')).toBeUndefined();
});

it('writes the file once a minute at most, at once at the end, and not where nothing changed', () => {
  const tenants = new VerifiedTenants(dataDir, 7);
  tenants.save(100_000);
  expect(new VerifiedTenants(dataDir, 99).sinceMs).toBe(7);
  tenants.note('a', SOUND);
  tenants.save(159_000);
  expect(readFileSync(path(), 'utf8')).not.toContain('"a"');
  tenants.save(160_000);
  expect(readFileSync(path(), 'utf8')).toContain('"a"');
  tenants.note('b', SOUND);
  tenants.save(161_000, true);
  expect(readFileSync(path(), 'utf8')).toContain('"b"');
  const { ino } = statSync(path());
  tenants.save(300_000, true);
  expect(statSync(path()).ino).toBe(ino);
});

it('writes again what could not be written', () => {
  const tenants = new VerifiedTenants(dataDir, 0);
  mkdirSync(path(), { recursive: true });
  tenants.note('a', SOUND);
  expect(() => tenants.save(100_000)).toThrow();
  rmSync(path(), { recursive: true });
  tenants.save(160_000);
  expect(readVerified(dataDir, 'a')).toEqual(SOUND);
});

it('bounds the texts, and begins again where the file is damaged', () => {
  const tenants = new VerifiedTenants(dataDir, 0);
  tenants.note('a', { ...SOUND, ok: false, problems: Array(9).fill('x'.repeat(9_000)) });
  expect(tenants.all.get('a')?.problems.join('')).toHaveLength(900);
  tenants.save(0, true);
  writeFileSync(path(), '{"format":1,"ten');
  expect(new VerifiedTenants(dataDir, 5)).toMatchObject({ sinceMs: 5, all: new Map() });
  writeFileSync(path(), '{"format":2}');
  expect(new VerifiedTenants(dataDir, 6).sinceMs).toBe(6);
});
