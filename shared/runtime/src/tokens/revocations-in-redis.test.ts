import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { RevocationsInRedis } from './revocations-in-redis.ts';

const TOKEN = {
  tenants: '*',
  rights: ['read'],
  id: 'abc',
  subject: undefined,
  jti: undefined,
  issuedAtMs: 1,
  expiresAtMs: Number.MAX_SAFE_INTEGER,
} as const;

it('says of no token that it is valid before Redis has answered once', async () => {
  const redis = new Redis({ port: 1, maxRetriesPerRequest: 0, retryStrategy: () => null });
  redis.on('error', () => {}); // on purpose
  onTestFinished(() => redis.disconnect());
  await expect(new RevocationsInRedis(redis, 'default').isRevoked(TOKEN)).rejects.toMatchObject({
    code: 'QUEUE_UNAVAILABLE',
  });
});
