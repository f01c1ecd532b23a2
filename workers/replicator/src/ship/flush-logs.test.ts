import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { at, framesOf, PAGE_SIZE, piece } from '../../test-support/log-world.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { LogFlushes } from './flush-logs.ts';
import { takeItems } from './take-items.ts';
import { TenantLine } from './tenant-line.ts';

function lineWith(path: string, identity?: string): TenantLine {
  const owner = {
    nowMs: () => 1,
    free: () => {},
    gap: () => {},
    readNote: () => undefined,
    writeNote: () => {},
  };
  const last = testEntry({
    kind: 'full',
    min: 7,
    max: 7,
    end: at('s', 3),
    incarnation: 'a',
    pageSize: PAGE_SIZE,
  });
  const line = new TenantLine('acme', owner, last);
  const next = piece({ before: at('s', 3), from: at('s', 3), frames: framesOf('s', 3, 4) });
  const { dev, ino } = statSync(path);
  line.receive({ ...next, unflushed: { path, identity: identity ?? `${dev}:${ino}` } });
  return line;
}

test('nothing leaves whose log is not flushed; another log at the path is none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-flush-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const log = join(folder, 'log');
  writeFileSync(log, 'x');
  const flushes = new LogFlushes();
  const line = lineWith(log);
  expect(takeItems(new Set([line])).pack).toEqual([]);
  await flushes.flush([line]);
  expect(takeItems(new Set([line])).pack).toHaveLength(1);

  const other = lineWith(log, '1:1');
  await flushes.flush([other]);
  await flushes.flush([other]);
  expect(other.state).toBe('chained');
  expect(takeItems(new Set([other])).pack).toEqual([]);
  await flushes.flush([other]);
  expect([other.state, other.items]).toEqual(['needs-full', []]);
});

test('a pack has a bound, and what is left comes first in the next one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-flush-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const log = join(folder, 'log');
  writeFileSync(log, 'x');
  const lines = [1, 2, 3].map(() => lineWith(log));
  for (const line of lines) for (const item of line.unflushed) item.unflushed = undefined;
  const ready = new Set(lines);
  const first = takeItems(ready, 1_000);
  expect([first.pack.length, first.isAll, ready.size]).toEqual([1, false, 2]);
  const second = takeItems(ready, 10_000);
  expect([second.pack.length, second.isAll, ready.size]).toEqual([2, true, 0]);
});
