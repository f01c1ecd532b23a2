import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { CapturedFile } from '../../test-support/captured-file.ts';
import type { CloseNote, KnownEnd } from './continues.ts';
import { isAsKnown } from './is-as-known.ts';

const INSERT = 'INSERT INTO t VALUES (hex(randomblob(3000)))';

/** A real file, and what is known of it after each message. */
function createFile() {
  const dir = mkdtempSync(join(tmpdir(), 'onewriter-known-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  let known: KnownEnd = {
    ...{ pos: 0, end: { salts: '', frame: 0, checksum: '' } },
    ...{ incarnation: '', pageSize: 4_096 },
  };
  let note: CloseNote | undefined;
  const file = new CapturedFile('acme', join(dir, 'tenant.db'), message => {
    if (message.kind === 'log') known = { ...known, pos: known.pos + 1, end: message.to };
    if (message.kind === 'closed') note = { pos: known.pos, to: message.to, mark: message.mark };
  });
  file.commit('CREATE TABLE t(a)');
  file.commit(INSERT);
  file.capture();
  onTestFinished(() => {
    if (file.isOpen) file.kill();
  });
  return { file, isKnown: () => isAsKnown(file.path, known, () => note) };
}

test('a file whose log ends where it is known to', () => {
  const { file, isKnown } = createFile();
  expect(isKnown()).toBe(true);
  file.checkpoint();
  expect(isKnown()).toBe(true);
  file.commit(INSERT);
  expect(isKnown()).toBe(false);
  file.capture();
  // Behind it lie frames of an older log.
  expect(isKnown()).toBe(true);
  file.kill();
  expect(isKnown()).toBe(true);
});

test('a commit that was not captured before a kill', () => {
  const { file, isKnown } = createFile();
  file.commit(INSERT);
  expect(isKnown()).toBe(false);
  file.kill();
  expect(isKnown()).toBe(false);
});

test('a file that was closed in order, and what others do with it then', () => {
  const { file, isKnown } = createFile();
  file.close();
  expect(isKnown()).toBe(true);
  const db = new Database(file.path);
  db.exec(INSERT);
  expect(isKnown()).toBe(false);
  db.close();
  expect(isKnown()).toBe(false);
});

test('a file with other times, and one that is gone', () => {
  const { file, isKnown } = createFile();
  file.close();
  utimesSync(file.path, 1, 1);
  expect(isKnown()).toBe(false);
  rmSync(file.path);
  expect(isKnown()).toBe(true);
});
