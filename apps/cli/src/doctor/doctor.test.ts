import { expect, it } from 'vitest';
import { checkNode, checkReads, checkVariables, judgeDisk } from './check-machine.ts';
import { judgeClock } from './check-redis.ts';

const GIB = 1024 ** 3;

it.each([
  [50 * GIB, 100 * GIB, 'ok'],
  [9 * GIB, 100 * GIB, 'warning'],
  [2 * GIB, 100 * GIB, 'error'],
  [GIB / 4, GIB, 'warning'],
  [1024, 4096, 'error'],
])('a disk with %i of %i bytes free: %s', (free, total, level) => {
  expect(judgeDisk(free, total).level).toBe(level);
});

it.each([
  [0, 0, 'ok'],
  [900, 0, 'ok'],
  [-1_500, 100, 'warning'],
  [6_000, 500, 'error'],
  // What the measurement itself may be wrong by is no skew.
  [2_000, 1_500, 'ok'],
])('a clock %i ms ahead, give or take %i: %s', (difference, uncertain, level) => {
  expect(judgeClock('Redis', difference, uncertain).level).toBe(level);
});

it('names the direction in which a clock is wrong', () => {
  expect(judgeClock('Redis', -6_000, 0).found).toMatch(/^The clock of Redis is 6\.0 s behind/);
});

it('finds variables that do nothing', () => {
  expect(checkVariables({ ONEWRITER_REDISURL: 'x', ONEWRITER_REDIS_URL: 'x', HOME: '/' })).toEqual([
    expect.objectContaining({ level: 'warning', found: expect.stringContaining('ONEWRITER_REDISURL') }),
  ]);
  expect(checkVariables({ ONEWRITER_DATA_DIR: 'x' })).toEqual([expect.objectContaining({ level: 'ok' })]);
});

it.each([
  ['20.18.3', 'error'],
  ['20.19.0', 'ok'],
  ['22.1.0', 'ok'],
])('Node %s: %s', (version, level) => {
  expect(checkNode(version).level).toBe(level);
});

it('says which way processes read', () => {
  const local = checkReads(import.meta.dirname).found;
  expect(local).toMatch(/^apps and the gateway read the files/);
  expect(local).toContain('else through the broker');
});
