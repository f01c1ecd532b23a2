import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { createPauseFlags } from './pause-flags.ts';

/** Of a Redis that takes a command and never answers it. */
const SILENT = new Proxy({}, { get: () => () => new Promise(() => {}) }) as Redis;

it('lets a write pass whose time Redis takes to say who holds the tenant', async () => {
  const flags = createPauseFlags(SILENT, 'default');
  const began = performance.now();
  await flags.assertNotPaused('acme', 50);
  expect(performance.now() - began).toBeLessThan(1_000);
});
