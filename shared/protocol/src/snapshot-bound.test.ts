import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { SnapshotBound } from './snapshot-bound.ts';

const MAX = 1_000;

/** A log of so many bytes, and a snapshot that begins now. */
function begin(bytes: number) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-bound-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'tenant.db');
  writeFileSync(`${path}-wal`, Buffer.alloc(bytes));
  let now = 100;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  onTestFinished(() => void vi.restoreAllMocks());
  const bound = new SnapshotBound(path, MAX);
  return {
    at: (ms: number, size: number) => {
      now = 100 + ms;
      truncateSync(`${path}-wal`, size);
      return bound.isReached();
    },
  };
}

it('is reached when the log has grown by so much, however large it was', () => {
  const { at } = begin(5_000);
  expect(at(60_000, 5_000)).toBe(false);
  expect(at(100, 5_999)).toBe(false);
  expect(at(100, 6_000)).toBe(true);
});

it('leaves a snapshot five seconds where a growing log is at twice the bound', () => {
  const { at } = begin(1_900);
  expect(at(60_000, 1_999)).toBe(false);
  expect(at(4_999, 2_000)).toBe(false);
  expect(at(5_000, 2_000)).toBe(true);
});

it('is not reached where there is no log, or it was cut meanwhile', () => {
  const { at } = begin(3_000);
  expect(at(60_000, 0)).toBe(false);
  expect(new SnapshotBound('/nowhere/tenant.db', MAX).isReached()).toBe(false);
});
