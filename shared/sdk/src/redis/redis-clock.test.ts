import { expect, it } from 'vitest';
import { RedisClock } from './redis-clock.ts';

it('continues from what Redis said, for ten seconds, and never faster', () => {
  let time = 5_000.5;
  const clock = new RedisClock(() => time);
  expect(clock.now()).toBe('');
  clock.read(1_700_000_000_000);
  expect(clock.now()).toBe(1_700_000_000_000);
  time += 9_999.4;
  expect(clock.now()).toBe(1_700_000_009_999);
  time += 0.6;
  expect(clock.now()).toBe('');
  // The clock of Redis was put back meanwhile.
  clock.read(1_600_000_000_000);
  expect(clock.now()).toBe(1_600_000_000_000);
  clock.forget();
  expect(clock.now()).toBe('');
});
