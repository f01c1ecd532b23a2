import { statSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { applied, script, TemporaryLane, writes } from '../test-support/temporary-lane.ts';

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

/** The WAL's size after each of so many commits: where it falls the log began anew. */
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

it('tries now and then where a reader holds the log, and begins it anew when the reader is gone', async () => {
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
