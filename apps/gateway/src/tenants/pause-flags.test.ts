import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { createPauseFlags } from './pause-flags.ts';

it('lets a write pass when Redis does not answer in time who holds the tenant', async () => {
  let asked = 0;
  const commands = {
    time: () => commands,
    hmget: () => commands,
    hgetall: () => commands,
    exec: () => {
      asked++;
      return new Promise(() => {});
    },
  };
  // It takes commands, and never answers.
  const flags = createPauseFlags({ pipeline: () => commands } as unknown as Redis, 'default');
  const began = performance.now();
  await flags.assertNotPaused('acme', 50);
  expect(performance.now() - began).toBeGreaterThan(40);
  expect(asked).toBe(1);
});
