import { fstatSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryDataDir } from '../../test-support/temporary-lane.ts';
import { withLog } from '../file/log-check.ts';
import { findFormerEnd } from './former-log.ts';
import { readPosition } from './log-frames.ts';

const PAGE = 4_096;

/** A file whose log is written back only when the test says so. */
class LoggedFile {
  readonly #path = join(temporaryDataDir(), 'x.db');
  readonly #db = new Database(this.#path);

  constructor() {
    onTestFinished(() => void this.#db.close());
    this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(b)');
  }

  commit(pages = 1): void {
    this.#db.prepare('INSERT INTO t VALUES (zeroblob(?))').run(pages * PAGE);
  }

  /** All of it: the next commit begins another log. */
  writeBack(): void {
    this.#db.pragma('wal_checkpoint(PASSIVE)');
  }

  limit(bytes: number): void {
    this.#db.pragma(`journal_size_limit = ${bytes}`);
  }

  get end() {
    const [row] = this.#db.pragma('wal_checkpoint(NOOP)') as { log: number }[];
    return withLog(`${this.#path}-wal`, log => readPosition(log, row!.log, PAGE));
  }

  get former() {
    return withLog(`${this.#path}-wal`, log => findFormerEnd(log, PAGE));
  }

  get logBytes(): number {
    return withLog(`${this.#path}-wal`, log => fstatSync(log).size);
  }
}

test('a log that was begun shows where the one before ended', () => {
  const file = new LoggedFile();
  file.commit(20);
  file.commit();
  expect(file.former).toBeUndefined();
  const { end } = file;
  file.writeBack();
  file.commit();
  expect(file.former).toEqual(end);
  file.commit();
  expect(file.former).toEqual(end);
});

test('it shows the end of the log directly before, whatever older ones have left', () => {
  const file = new LoggedFile();
  file.commit(40);
  file.writeBack();
  file.commit(20);
  file.commit(4);
  const { end } = file;
  file.writeBack();
  file.commit();
  expect(file.former).toEqual(end);
});

test('a log as long as the one before shows nothing of it', () => {
  const file = new LoggedFile();
  file.commit(40);
  file.writeBack();
  file.commit(2);
  file.writeBack();
  file.commit(10);
  expect(file.former).toBeUndefined();
});

test('a log that was cut when it was restarted shows nothing: its end is not there', () => {
  const file = new LoggedFile();
  file.limit(16 * 1024 * 1024);
  file.commit(5_000);
  file.writeBack();
  file.commit();
  expect(file.logBytes).toBe(16 * 1024 * 1024);
  expect(file.former).toBeUndefined();
});
