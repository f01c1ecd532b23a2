import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spoolFolder, spoolsFolder } from '@onewriter/writer';
import { expect, onTestFinished, test } from 'vitest';
import { pruneSpools } from './prune-spools.ts';

const roomOf = (number: number) => String(number).padStart(16, '0');

function setUp() {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-prune-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const add = (number: number, ...sizes: readonly number[]) => {
    const folder = spoolFolder(dataDir, roomOf(number))!;
    mkdirSync(folder, { recursive: true });
    for (const [thread, size] of sizes.entries())
      writeFileSync(join(folder, `${thread}-1`), Buffer.alloc(size));
  };
  const left = () =>
    readdirSync(spoolsFolder(dataDir))
      .map(name => Number(name.slice(-16)))
      .sort();
  return { dataDir, add, left };
}

test('keeps the oldest spools up to the bound, and that of the last room', () => {
  const { dataDir, add, left } = setUp();
  for (let number = 1; number <= 5; number++) add(number, 30, 10);
  pruneSpools(dataDir, roomOf(5), 80);
  expect(left()).toEqual([1, 2, 5]);
  pruneSpools(dataDir, roomOf(6), 80);
  expect(left()).toEqual([1, 2]);
  // However large the first is: all others begin behind it.
  pruneSpools(dataDir, roomOf(6), 10);
  expect(left()).toEqual([1]);
});

test('does nothing where there are none, and removes nothing else', () => {
  const { dataDir } = setUp();
  pruneSpools(dataDir, roomOf(1), 10);
  expect(existsSync(spoolsFolder(dataDir))).toBe(false);
  mkdirSync(join(spoolsFolder(dataDir), 'mine'), { recursive: true });
  writeFileSync(join(spoolsFolder(dataDir), 'mine', 'file'), 'of a person');
  pruneSpools(dataDir, roomOf(1), 0);
  expect(readdirSync(spoolsFolder(dataDir))).toEqual(['mine']);
});
