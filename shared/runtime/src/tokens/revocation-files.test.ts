import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it, onTestFinished, vi } from 'vitest';
import { RevocationFiles } from './revocation-files.ts';
import { signToken, verifyToken } from './token.ts';
import type { VerifiedToken } from './token-verifier.ts';

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-revoked-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Longer than the pause between two looks. */
const LOOK_EVERY_MS = 250;
const SECRET = 'a-secret-of-the-unit-tests';
const NOW = Date.now();
const TOKEN: VerifiedToken = {
  tenants: '*',
  rights: ['read'],
  id: 'abc',
  subject: 'ada',
  jti: 'j-1',
  issuedAtMs: NOW - 60_000,
  expiresAtMs: NOW + 3_600_000,
};

it('revokes by jti, by id, and a subject’s tokens until then, for every process', async () => {
  const folder = makeFolder();
  const reader = new RevocationFiles(folder);
  expect(reader.isRevoked(TOKEN)).toBe(false);
  new RevocationFiles(folder).add({ kind: 'jti', value: 'j-1', atMs: NOW, untilMs: null });
  await vi.waitFor(() => expect(reader.isRevoked(TOKEN)).toBe(true));
  expect(reader.isRevoked({ ...TOKEN, jti: 'j-2' })).toBe(false);
  // Right behind the first: the folder may have the same time.
  new RevocationFiles(folder).add({ kind: 'token', value: 'abcd', atMs: NOW, untilMs: null });
  await vi.waitFor(() => expect(reader.isRevoked({ ...TOKEN, jti: undefined, id: 'abcd' })).toBe(true));
  new RevocationFiles(folder).add({ kind: 'subject', value: 'eve', atMs: NOW, untilMs: null });
  const eve = { ...TOKEN, jti: undefined, subject: 'eve' };
  await vi.waitFor(() => expect(reader.isRevoked(eve)).toBe(true));
  expect(reader.isRevoked({ ...eve, issuedAtMs: undefined })).toBe(true);
  expect(reader.isRevoked({ ...eve, issuedAtMs: NOW + 1 })).toBe(false);
  new RevocationFiles(folder).add({ kind: 'subject', value: 'eve', atMs: NOW + 5, untilMs: null });
  await vi.waitFor(() => expect(reader.isRevoked({ ...eve, issuedAtMs: NOW + 1 })).toBe(true));
});

it('lists them, the newest first, and forgets those whose token has ended long ago', () => {
  const folder = makeFolder();
  const files = new RevocationFiles(folder);
  files.add({ kind: 'jti', value: 'old', atMs: 1, untilMs: 2 });
  files.add({ kind: 'jti', value: 'a', atMs: NOW - 2, untilMs: NOW - 1 });
  files.add({ kind: 'subject', value: 'b', atMs: NOW, untilMs: null });
  expect(files.list().map(({ value }) => value)).toEqual(['b', 'a']);
  expect(readdirSync(join(folder, 'revoked-tokens'))).toHaveLength(2);
});

it('keeps what is revoked while the folder is away, and where a file is damaged', async () => {
  const folder = makeFolder();
  const files = new RevocationFiles(folder);
  files.add({ kind: 'subject', value: 'ada', atMs: NOW, untilMs: null });
  expect(files.isRevoked(TOKEN)).toBe(true);
  const path = join(folder, 'revoked-tokens');
  renameSync(path, `${path}.moved`);
  await pause(2 * LOOK_EVERY_MS);
  expect(files.isRevoked(TOKEN)).toBe(true);
  renameSync(`${path}.moved`, path);
  writeFileSync(join(path, readdirSync(path)[0]!), '{"kind":');
  const reader = new RevocationFiles(folder);
  expect(reader.isRevoked(TOKEN)).toBe(true);
  expect(reader.isRevoked({ ...TOKEN, subject: 'eve' })).toBe(false);
  expect(reader.list()).toEqual([expect.objectContaining({ kind: 'subject' })]);
  reader.add({ kind: 'subject', value: 'ada', atMs: NOW, untilMs: null });
  expect(reader.list()).toEqual([{ kind: 'subject', value: 'ada', atMs: NOW, untilMs: null }]);
});

it('lets a token in that was made right after its subject was revoked', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const files = new RevocationFiles(makeFolder());
  const sign = () => signToken(SECRET, { tenants: '*', access: 'read' }, { subject: 'ada' });
  const check = async (token: string) => files.isRevoked({ ...TOKEN, ...(await verifyToken(SECRET, token)) });
  const before = await sign();
  files.add({ kind: 'subject', value: 'ada', atMs: Date.now(), untilMs: null });
  vi.setSystemTime(Date.now() + 1);
  expect([await check(before), await check(await sign())]).toEqual([true, false]);
});

it('revokes a subject that is longer than what counts of it', async () => {
  const subject = 's'.repeat(200);
  const token = await verifyToken(
    SECRET,
    await signToken(SECRET, { tenants: '*', access: 'read' }, { subject }),
  );
  const files = new RevocationFiles(makeFolder());
  files.add({ kind: 'subject', value: subject, atMs: Date.now(), untilMs: null });
  expect(files.isRevoked({ ...TOKEN, ...token, id: 'abc' })).toBe(true);
});
