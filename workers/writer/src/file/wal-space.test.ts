import { appendFileSync, cpSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { script, TemporaryLane, temporaryDataDir, writes } from '../../test-support/temporary-lane.ts';
import { WalSpace } from './wal-space.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
const INSERT = 'INSERT INTO t(a) VALUES (1)';

/** Applies jobs as a thread does: between two of them its event loop turns. */
async function applyMany(lane: TemporaryLane, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    lane.applyOne(writes(INSERT));
    await turn();
  }
}

it('makes room for a tenant that writes much, in few steps, and not for others', async () => {
  const lane = new TemporaryLane();
  const wal = () => statSync(`${lane.file}-wal`).size;
  lane.applyOne(TABLE);
  await applyMany(lane, 2);
  expect(wal()).toBeLessThan(128 * 1024);
  const sizes = new Set<number>();
  for (let count = 0; count < 20; count++) {
    await applyMany(lane, 10);
    sizes.add(wal());
  }
  expect(sizes.size).toBeLessThan(6);
  expect(wal()).toBeGreaterThan(512 * 1024);
});

it('leaves nothing that recovery would treat as a commit, and omits none', async () => {
  const lane = new TemporaryLane();
  lane.applyOne(TABLE);
  await applyMany(lane, 100);
  // The files as a crash would leave them: there is no index to the log, so opening them reads all of it.
  const copy = join(temporaryDataDir(), 'copy');
  cpSync(dirname(lane.file), copy, { recursive: true, filter: path => !path.endsWith('-shm') });
  const db = new Database(join(copy, 'tenant.db'));
  expect(db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(100);
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
  db.close();
  // Written back and restarted, it still holds later commits.
  await applyMany(lane, 400);
  expect(lane.column('SELECT count(*) FROM t')).toEqual([500]);
  expect(lane.column('PRAGMA integrity_check')).toEqual(['ok']);
  lane.lane.close();
  expect(statSync(`${lane.file}-wal`, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
});

it('overwrites nothing that came since it looked: another thread or leader may write by then', () => {
  const path = join(temporaryDataDir(), 'tenant.db-wal');
  const frames = (length: number) => Buffer.alloc(length, 0xab);
  writeFileSync(path, frames(200_000));
  const space = new WalSpace(path);
  expect(space.isScarce(200_000)).toBe(true);
  appendFileSync(path, frames(100_000));
  space.extend();
  const content = readFileSync(path);
  expect(content.length).toBeGreaterThan(500_000);
  expect(content.subarray(0, 300_000).equals(frames(300_000))).toBe(true);
  expect(content.subarray(300_000).every(byte => byte === 0)).toBe(true);
  expect(space.isScarce(300_000)).toBe(false);
});
