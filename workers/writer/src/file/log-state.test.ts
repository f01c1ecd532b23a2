import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { isLaterSalt, type LogState, readHeader, wasWrittenBackByOthers } from './log-state.ts';

const THEN: LogState = { sequence: 4, next: 5, salt: 9, writtenBack: 3, complete: true, version: 1 };
const EMPTY: LogState = { ...THEN, sequence: -1, salt: 0 };

it.each([
  ['the same log', THEN, {}, false],
  ['more of the same log', THEN, { writtenBack: 4 }, true],
  ['the next log, of this connection', THEN, { sequence: 5, salt: 10, writtenBack: 0 }, false],
  ['the next log, of which a part is written back', THEN, { sequence: 5, salt: 10, writtenBack: 1 }, true],
  [
    'the next log after one that was not complete',
    { ...THEN, complete: false },
    { salt: 10, writtenBack: 0 },
    true,
  ],
  ['the next log with a commit of another', THEN, { salt: 10, writtenBack: 0, version: 2 }, true],
  ['a log after the next', THEN, { salt: 11, writtenBack: 0 }, true],
  ['a log that was cut', THEN, { sequence: -1, salt: 0 }, true],
  ['a log that stays empty', EMPTY, {}, false],
  ['an empty log and a commit of another', EMPTY, { version: 2 }, true],
  ['the first log after none', EMPTY, { sequence: 5, salt: 77, writtenBack: 0 }, false],
  ['a later log after none', EMPTY, { sequence: 6, salt: 77, writtenBack: 0 }, true],
])('sees whether others wrote back: %s', (_, then, now, expected) => {
  expect(wasWrittenBackByOthers(then, { ...then, ...now })).toBe(expected);
});

it('knows a restart of a log from an older one, also where the salt has wrapped', () => {
  expect(isLaterSalt('00000005', '00000004')).toBe(true);
  expect(isLaterSalt('00000003', '00000004')).toBe(false);
  expect(isLaterSalt('00000001', 'fffffffe')).toBe(true);
  expect(isLaterSalt('fffffffe', '00000001')).toBe(false);
});

it('reads the header of a log; there is none without a log, or in one that is too short', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-log-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a.db');
  const none = { sequence: -1, salt: 0 };
  expect(readHeader(`${path}-wal`)).toEqual(none);
  writeFileSync(`${path}-short`, 'x');
  expect(readHeader(`${path}-short`)).toEqual(none);
  const db = new Database(path);
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE t(a)');
  const first = readHeader(`${path}-wal`);
  expect(first.salt).toBeGreaterThan(0);
  db.exec('PRAGMA wal_checkpoint; INSERT INTO t VALUES (1)');
  const next = readHeader(`${path}-wal`);
  expect(next).toEqual({ sequence: first.sequence + 1, salt: (first.salt + 1) % 2 ** 32 });
  db.close();
});
