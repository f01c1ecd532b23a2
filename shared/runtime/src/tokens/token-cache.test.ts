import { OnewriterError } from '@onewriter/protocol';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { signToken } from './token.ts';
import { cacheVerifiedTokens } from './token-cache.ts';
import { createTokenVerifier } from './token-verifier.ts';

const SECRET = 'a secret of enough characters';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function createCached(maxTokens?: number) {
  const verify = vi.fn(createTokenVerifier({ secret: SECRET }));
  return { verify, cached: cacheVerifiedTokens(verify, { maxTokens }) };
}

it('checks a token once in a while, with the same result each time', async () => {
  const { verify, cached } = createCached();
  const token = await signToken(SECRET, { tenants: ['acme'], access: 'read' });
  const first = await cached(token);
  expect(first).toMatchObject({ tenants: ['acme'], rights: ['read', 'export'] });
  for (let count = 0; count < 5; count++) expect(await cached(token)).toEqual(first);
  expect(verify).toHaveBeenCalledTimes(1);
  vi.setSystemTime(Date.now() + 10_001);
  await cached(token);
  expect(verify).toHaveBeenCalledTimes(2);
  vi.setSystemTime(Date.now() - 60_000);
  await cached(token);
  expect(verify).toHaveBeenCalledTimes(3);
});

it('accepts no token after its expiry', async () => {
  const { cached } = createCached();
  const token = await signToken(SECRET, { tenants: '*', access: 'admin' }, { expiresInMs: 2_000 });
  await cached(token);
  vi.setSystemTime(Date.now() + 8_000);
  await expect(cached(token)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
});

it('does not remember what was refused, nor more than its bound', async () => {
  const { verify, cached } = createCached(2);
  for (let count = 0; count < 2; count++) {
    await expect(cached('no.such.token')).rejects.toThrow(OnewriterError);
  }
  expect(verify).toHaveBeenCalledTimes(2);
  const tokens = await Promise.all(
    ['a', 'b', 'c'].map(tenant => signToken(SECRET, { tenants: [tenant], access: 'read' })),
  );
  for (const token of tokens) await cached(token);
  expect(verify).toHaveBeenCalledTimes(5);
  await cached(tokens[2]!);
  expect(verify).toHaveBeenCalledTimes(5);
  await cached(tokens[0]!);
  expect(verify).toHaveBeenCalledTimes(6);
});
