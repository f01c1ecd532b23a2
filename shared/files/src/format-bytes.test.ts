import { expect, it } from 'vitest';
import { formatBytes } from './format-bytes.ts';

it('formats sizes', () => {
  expect([0, 1023, 1024, 1_572_864, 5e15].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 MiB',
    '4547.5 TiB',
  ]);
});
