import { cpSync, existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import {
  applied,
  refused,
  script,
  TemporaryLane,
  temporaryDataDir,
  writes,
} from '../../test-support/temporary-lane.ts';
import { releaseWithheld } from '../thread/withheld-tenant.ts';

/** A file that was closed for another, with its log beside it, as after a kill; and a database of other origin. */
function leaveLog() {
  const lane = new TemporaryLane({ maxOpenTenants: 1 });
  lane.apply(script('CREATE TABLE t(a)'), writes('INSERT INTO t VALUES (1)'));
  applied(lane.run([script('CREATE TABLE t(a)')], { tenant: 'b' }));
  expect(existsSync(`${lane.file}-wal`)).toBe(true);
  const other = join(temporaryDataDir(), 'other.db');
  new Database(other).exec('CREATE TABLE u(b); INSERT INTO u VALUES (2)').close();
  const { dataDir } = lane.options;
  return { dataDir, file: lane.file, other, next: () => new TemporaryLane({ dataDir }) };
}

const INSERT = [writes('INSERT INTO t VALUES (3)')];

it('keeps a file closed that was put beside the log of another, and does not write that log into it', () => {
  const { dataDir, file, other, next } = leaveLog();
  const before = readFileSync(other);
  renameSync(other, file);
  const { error, begun } = refused(next().run(INSERT));
  expect([error.code, begun]).toEqual(['TENANT_UNAVAILABLE', false]);
  expect(error.message).toContain(`${file}-wal`);
  expect(readFileSync(file).equals(before)).toBe(true);
  // Also by another leader, which reads the note that keeps it closed.
  expect(refused(next().run(INSERT)).error.message).toBe(error.message);
  renameSync(`${file}-wal`, `${file}-wal.away`);
  releaseWithheld(dataDir, 'acme');
  const lane = next();
  lane.apply(writes('INSERT INTO u VALUES (3)'));
  expect(lane.column('SELECT b FROM u')).toEqual([2, 3]);
});

it('opens the former file with its log again when it is back', () => {
  const { dataDir, file, other, next } = leaveLog();
  renameSync(file, `${file}.away`);
  renameSync(other, file);
  refused(next().run(INSERT));
  renameSync(`${file}.away`, file);
  releaseWithheld(dataDir, 'acme');
  const lane = next();
  lane.apply(...INSERT);
  expect(lane.column('SELECT a FROM t')).toEqual([1, 3]);
});

it('opens what a person has released as it is', () => {
  const { dataDir, file, next } = leaveLog();
  cpSync(file, `${file}.new`);
  renameSync(`${file}.new`, file);
  refused(next().run(INSERT));
  releaseWithheld(dataDir, 'acme');
  expect(next().run(INSERT).kind).toBe('applied');
});

it('opens a data directory that was copied with its logs', () => {
  const { dataDir } = leaveLog();
  const copy = join(temporaryDataDir(), 'copy');
  cpSync(dataDir, copy, { recursive: true });
  const lane = new TemporaryLane({ dataDir: copy });
  lane.apply(...INSERT);
  expect(lane.column('SELECT a FROM t')).toEqual([1, 3]);
});
