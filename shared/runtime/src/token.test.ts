import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { assertAccess, signToken, verifyToken } from './token.ts';

const SECRET = 'a-secret-for-tests-only';

/** A JWT made by hand, so that tests can make wrong ones. */
function handmade(header: object, claims: object, secret = SECRET, hash = 'sha256'): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${createHmac(hash, secret).update(signed).digest('base64url')}`;
}

const HS256 = { alg: 'HS256', typ: 'JWT' };

describe('tokens', () => {
  it('give back the access they were signed for', async () => {
    const some = { tenants: ['acme', 'globex'], access: 'write' } as const;
    expect(await verifyToken(SECRET, await signToken(SECRET, some))).toEqual(some);
    const all = { tenants: '*', access: 'admin' } as const;
    expect(await verifyToken(SECRET, await signToken(SECRET, all))).toEqual(all);
  });

  it('made by another JWT library with the same secret are accepted', async () => {
    const token = handmade(HS256, { tenants: ['acme'], access: 'read' });
    expect(await verifyToken(SECRET, token)).toEqual({ tenants: ['acme'], access: 'read' });
  });

  const future = Math.floor(Date.now() / 1000) + 600;
  it.each<[string, string]>([
    ['an empty token', ''],
    ['no JWT', 'secret'],
    ['another secret', handmade(HS256, { tenants: '*', access: 'admin' }, 'another-secret-of-tests')],
    ['no algorithm', `${handmade({ alg: 'none' }, { tenants: '*', access: 'admin' }).replace(/[^.]*$/, '')}`],
    ['another algorithm', handmade({ alg: 'HS512' }, { tenants: '*', access: 'admin' }, SECRET, 'sha512')],
    ['an expired token', handmade(HS256, { tenants: '*', access: 'admin', exp: future - 3600 })],
    ['a token not valid yet', handmade(HS256, { tenants: '*', access: 'admin', nbf: future })],
    ['an unknown level', handmade(HS256, { tenants: '*', access: 'root' })],
    ['no level', handmade(HS256, { tenants: '*' })],
    ['no tenants', handmade(HS256, { access: 'read' })],
    ['tenants that are one string', handmade(HS256, { tenants: 'acme', access: 'read' })],
    ['tenants of another type', handmade(HS256, { tenants: [1], access: 'read' })],
    ['a huge token', 'a'.repeat(20_000)],
  ])('refuses %s', async (_, token) => {
    await expect(verifyToken(SECRET, token)).rejects.toMatchObject({ code: 'UNAUTHENTICATED', status: 401 });
  });

  it('expire', async () => {
    const token = await signToken(SECRET, { tenants: '*', access: 'read' }, { expiresInMs: -60_000 });
    await expect(verifyToken(SECRET, token)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  it('are not signed with a short secret, nor for a malformed tenant', async () => {
    await expect(signToken('short', { tenants: '*', access: 'read' })).rejects.toMatchObject({
      code: 'MISCONFIGURED',
    });
    await expect(signToken(SECRET, { tenants: ['../x'], access: 'read' })).rejects.toMatchObject({
      code: 'INVALID_TENANT',
    });
  });
});

describe('assertAccess', () => {
  const acme = { tenants: ['acme'], access: 'write' } as const;

  it('lets a level do what lower levels may', () => {
    assertAccess(acme, 'read', 'acme');
    assertAccess(acme, 'write', 'acme');
    assertAccess({ tenants: '*', access: 'admin' }, 'write', 'any');
  });

  it('refuses another tenant and a higher level', () => {
    expect(() => assertAccess(acme, 'read', 'globex')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
    expect(() => assertAccess(acme, 'admin', 'acme')).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
    expect(() => assertAccess({ tenants: [], access: 'admin' }, 'read', 'acme')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
  });
});
