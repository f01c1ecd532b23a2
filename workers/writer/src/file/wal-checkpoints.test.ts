import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished, vi } from 'vitest';
import { applied, refused, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';

const PAGE_BYTES = 4_096;
const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
const SMALL = 'INSERT INTO t(a) VALUES (1)';
/** Some hundred pages. */
const LARGE = `INSERT INTO t(a) SELECT zeroblob(100000) FROM (VALUES (1), (2), (3), (4))`;

function openLane(): TemporaryLane {
  const lane = new TemporaryLane();
  lane.applyOne(TABLE);
  return lane;
}

/** Applies a job as a thread does, which turns its event loop before the next. @returns pages in the WAL after it. */
async function apply(lane: TemporaryLane, sql: string): Promise<number> {
  const { stats } = applied(lane.run([writes(sql)]));
  await turn();
  return Math.floor(stats.walBytes / (PAGE_BYTES + 24));
}

/** The WAL's size after each of so many commits: where it falls the log restarted. */
async function applyMany(lane: TemporaryLane, sql: string, count: number): Promise<readonly number[]> {
  const pages: number[] = [];
  for (let index = 0; index < count; index++) pages.push(await apply(lane, sql));
  return pages;
}

it('keeps the log of many small commits small, and does not write it back more often than it pays', async () => {
  const pages = await applyMany(openLane(), SMALL, 300);
  expect(Math.max(...pages)).toBeLessThan(200);
  const begunAnew = pages.filter((count, index) => count < (pages[index - 1] ?? 0)).length;
  expect(begunAnew).toBeGreaterThan(3);
  expect(begunAnew).toBeLessThan(300 / 32 + 1);
});

it('does not write back after each of some large commits, but before the log is far above 1,000 pages', async () => {
  const pages = await applyMany(openLane(), LARGE, 30);
  expect(Math.max(...pages)).toBeGreaterThan(900);
  expect(Math.max(...pages)).toBeLessThan(1_500);
});

it('tries now and then where a reader holds the log, and restarts it when the reader is gone', async () => {
  const lane = openLane();
  const reader = new Database(lane.file, { readonly: true });
  onTestFinished(() => void reader.close());
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM t').get();
  const held = await applyMany(lane, SMALL, 200);
  expect(held).toEqual([...held].sort((a, b) => a - b));
  expect(held.at(-1)).toBeGreaterThan(400);
  reader.exec('COMMIT');
  const freed = await applyMany(lane, SMALL, 150);
  expect(freed.at(-1)).toBeLessThan(200);
  expect(statSync(lane.file).size).toBeGreaterThan(PAGE_BYTES * 5);
});

/** One statement that fills the log with some 30 MB. */
const HUGE = `INSERT INTO t(a) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT zeroblob(100000) FROM n`;
const KEPT_BYTES = 16 * 1024 * 1024;

function walSize(lane: TemporaryLane): number {
  return statSync(`${lane.file}-wal`).size;
}

function holdSnapshot(lane: TemporaryLane): Database.Database {
  const reader = new Database(lane.file, { readonly: true });
  onTestFinished(() => void reader.close());
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM t').get();
  return reader;
}

it('cuts the log after one large write', async () => {
  const lane = openLane();
  lane.applyOne(writes(HUGE));
  expect(walSize(lane)).toBeGreaterThan(25 * 1024 * 1024);
  await turn();
  expect(walSize(lane)).toBeLessThanOrEqual(KEPT_BYTES);
  // The next write finds a log of its own, and a file that nothing else has written.
  expect(await apply(lane, SMALL)).toBeLessThan(10);
  expect(lane.column('SELECT count(*) FROM t')).toEqual([301]);
});

it('cuts a log that a reader held when the reader is gone, although nothing is written any more', async () => {
  const lane = openLane();
  const reader = holdSnapshot(lane);
  await apply(lane, HUGE);
  expect(walSize(lane)).toBeGreaterThan(25 * 1024 * 1024);
  reader.exec('COMMIT');
  await vi.waitFor(() => expect(walSize(lane)).toBeLessThanOrEqual(KEPT_BYTES), { timeout: 5_000 });
  expect(lane.column('SELECT count(*) FROM t')).toEqual([300]);
});

it('notices a file that was overwritten after its log was cut', async () => {
  const lane = openLane();
  await apply(lane, HUGE);
  await apply(lane, SMALL);
  expect(lane.run([writes(SMALL)]).kind).toBe('applied');
  const file = openSync(lane.file, 'r+');
  writeSync(file, Buffer.alloc(100, 1), 0, 100, 8_192);
  closeSync(file);
  expect(refused(lane.run([writes(SMALL)])).error).toMatchObject({ code: 'TENANT_UNAVAILABLE' });
});

it('refuses the tenant whose log a reader holds before the disk is full, and continues when the reader is gone', async () => {
  let freeBytes = 100 * 1024 ** 3;
  const lane = new TemporaryLane({}, () => ({ freeBytes, totalBytes: 200 * 1024 ** 3 }));
  lane.applyOne(TABLE);
  const reader = holdSnapshot(lane);
  for (let count = 0; count < 3; count++) await apply(lane, HUGE);
  lane.applyOne(writes(SMALL));
  freeBytes = 500 * 1024 * 1024;
  await vi.waitFor(
    () => {
      const { error, begun } = refused(lane.run([writes(SMALL)]));
      expect(error).toMatchObject({ code: 'DATABASE_FULL', details: { reason: 'log held by a reader' } });
      expect(begun).toBe(false);
    },
    { timeout: 3_000, interval: 100 },
  );
  expect(lane.lane.run({ kind: 'apply', tenant: 'other', epoch: 1, jobs: [writes('SELECT 1')] }).kind).toBe(
    'applied',
  );
  reader.exec('COMMIT');
  await vi.waitFor(() => expect(lane.run([writes(SMALL)]).kind).toBe('applied'), {
    timeout: 5_000,
    interval: 100,
  });
});

it('does not hide by a cut that another program committed to the file', async () => {
  const lane = openLane();
  lane.applyOne(writes(HUGE));
  const other = new Database(lane.file);
  onTestFinished(() => void other.close());
  other.exec(SMALL);
  await turn();
  expect(refused(lane.run([writes(SMALL)])).error).toMatchObject({ code: 'TENANT_UNAVAILABLE' });
});

it('keeps the log of a busy tenant, also where a batch comes on top of 1,000 pages', async () => {
  const lane = openLane();
  await applyMany(lane, LARGE, 30);
  const size = walSize(lane);
  expect(size).toBeGreaterThan(4 * 1024 * 1024);
  for (let count = 0; count < 10; count++) {
    await applyMany(lane, LARGE, 7);
    await apply(lane, `${LARGE}, (VALUES (1), (2), (3), (4)), (VALUES (1), (2), (3), (4))`);
    expect(walSize(lane)).toBeGreaterThanOrEqual(size);
  }
});
