import { describe, expect, it } from 'vitest';
import { createReadiness } from './readiness.ts';

describe('readiness', () => {
  it('is ready when every check is', async () => {
    const ask = createReadiness({ redis: () => undefined, disk: async () => undefined });
    expect(await ask()).toEqual({ status: 'ready', reasons: [], checks: { redis: 'ok', disk: 'ok' } });
  });

  it('says what each check found, also where one fails or never answers', async () => {
    const ask = createReadiness({
      redis: () => 'Redis does not answer.',
      disk: () => Promise.reject(new Error('EIO')),
      broker: () => new Promise<undefined>(() => {}),
      draining: () => undefined,
    });
    const checks = {
      redis: 'Redis does not answer.',
      disk: 'The check "disk" failed: EIO',
      broker: 'The check "broker" failed: no answer in 1500 ms',
      draining: 'ok',
    };
    expect(await ask()).toEqual({
      status: 'not ready',
      reasons: [checks.redis, checks.disk, checks.broker],
      checks,
    });
  });

  it('looks once for concurrent callers, and again for the next', async () => {
    let looks = 0;
    const ask = createReadiness({
      redis: async () => {
        looks++;
        return undefined;
      },
    });
    await Promise.all([ask(), ask(), ask()]);
    expect(looks).toBe(1);
    await ask();
    expect(looks).toBe(2);
  });
});
