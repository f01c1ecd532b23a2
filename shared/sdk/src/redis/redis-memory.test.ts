import { describe, expect, it } from 'vitest';
import { parseMemory, queueBytesAt, usedShare } from './redis-memory.ts';

const INFO = [
  '# Memory',
  'used_memory:1500',
  'used_memory_human:1.46K',
  'total_system_memory:8000',
  'maxmemory:2000',
  'maxmemory_human:1.95K',
  'mem_not_counted_for_evict:500',
  '',
].join('\r\n');

describe('parseMemory', () => {
  it('reads what Redis compares with its limit', () => {
    expect(parseMemory(INFO)).toEqual({ usedBytes: 1_000, maxBytes: 2_000, systemBytes: 8_000 });
  });

  it('finds nothing in an answer that leaves it out', () => {
    expect(parseMemory('# Memory\r\n')).toEqual({ usedBytes: 0, maxBytes: 0, systemBytes: 0 });
  });
});

describe('usedShare', () => {
  it.each([
    ['maxmemory, whatever is set here', { usedBytes: 10, maxBytes: 20, systemBytes: 1_000 }, 15, 0.5],
    ['the setting, where Redis has no limit', { usedBytes: 10, maxBytes: 0, systemBytes: 1_000 }, 100, 0.1],
    ['half of the machine, where neither is set', { usedBytes: 10, maxBytes: 0, systemBytes: 100 }, 0, 0.2],
    ['nothing, where nothing is known', { usedBytes: 10, maxBytes: 0, systemBytes: 0 }, 0, 0],
  ])('is of %s', (_, facts, maxRedisBytes, share) => {
    expect(usedShare(facts, maxRedisBytes)).toBe(share);
  });
});

describe('queueBytesAt', () => {
  it('is the whole bound up to 80 %, nothing from 90 % on, and never grows with the share', () => {
    expect(queueBytesAt(0, 64)).toBe(64);
    expect(queueBytesAt(0.8, 64)).toBe(64);
    expect(queueBytesAt(0.85, 64)).toBe(32);
    expect(queueBytesAt(0.9, 64)).toBe(0);
    expect(queueBytesAt(7, 64)).toBe(0);
    for (let last = 64, share = 0; share < 1.1; share += 0.01) {
      const bytes = queueBytesAt(share, 64);
      expect(bytes).toBeLessThanOrEqual(last);
      last = bytes;
    }
  });
});
