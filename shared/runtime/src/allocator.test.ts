import { expect, it } from 'vitest';
import { ALLOCATOR_ENVIRONMENT, adviseOnMemory } from './allocator.ts';

const MIB = 1024 * 1024;

it.each([
  ['no limit', undefined, {}, undefined],
  ['no limit, as 0', 0, {}, undefined],
  ['a large container', 1024 * MIB, {}, undefined],
  ['a small one', 1024 * MIB - 1, {}, /has 1023 MiB.*Set MALLOC_MMAP_THRESHOLD_=1048576 /],
  ['the least', 256 * MIB, {}, /has 256 MiB.*Set MALLOC_MMAP_THRESHOLD_=1048576 /],
  ['the least, with the setting', 256 * MIB, ALLOCATOR_ENVIRONMENT, undefined],
  ['a value of the operator', 256 * MIB, { MALLOC_MMAP_THRESHOLD_: '65536' }, undefined],
  ['too little', 256 * MIB - 1, ALLOCATOR_ENVIRONMENT, /has 255 MiB.*needs 256 MiB.*Raise the limit/],
])('says what a broker lacks in %s', (_, bytes, environment, expected) => {
  const advice = adviseOnMemory(bytes, environment);
  if (expected === undefined) expect(advice).toBeUndefined();
  else expect(advice).toMatch(expected);
});
