import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { assertAccess, RIGHTS_OF, signToken, verifyToken } from './token.ts';

const SECRET = 'a-secret-for-tests-only';

/** A JWT made by hand, so that tests can make wrong ones. */
function handmade(header: object, claims: object, secret = SECRET, hash = 'sha256'): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${createHmac(hash, secret).update(signed).digest('base64url')}`;
}

const HS256 = { alg: 'HS256', typ: 'JWT' };

const future = Math.floor(Date.now() / 1000) + 600;

describe('tokens', () => {
  it('return the access they were signed for', async () => {
    const some = { tenants: ['acme', 'globex'], access: 'write' } as const;
    expect(await verifyToken(SECRET, await signToken(SECRET, some))).toMatchObject({
      tenants: ['acme', 'globex'],
      rights: RIGHTS_OF.write,
    });
    const all = { tenants: '*', access: 'admin' } as const;
    expect(await verifyToken(SECRET, await signToken(SECRET, all))).toMatchObject({
      tenants: '*',
      rights: RIGHTS_OF.admin,
    });
    const narrow = { tenants: ['acme'], rights: ['read', 'admin:tenants'] } as const;
    expect(await verifyToken(SECRET, await signToken(SECRET, narrow))).toMatchObject(narrow);
  });

  it('made by another JWT library with the same secret are accepted', async () => {
    const token = handmade(HS256, { tenants: ['acme'], access: 'read', exp: future, jti: 'j-1', sub: 'ada' });
    expect(await verifyToken(SECRET, token)).toEqual({
      tenants: ['acme'],
      rights: ['read', 'export'],
      subject: 'ada',
      jti: 'j-1',
      issuedAtMs: undefined,
      expiresAtMs: future * 1_000,
    });
  });
  it.each<[string, string]>([
    ['an empty token', ''],
    ['no JWT', 'secret'],
    [
      'another secret',
      handmade(HS256, { tenants: '*', access: 'admin', exp: future }, 'another-secret-of-tests'),
    ],
    [
      'no algorithm',
      `${handmade({ alg: 'none' }, { tenants: '*', access: 'admin', exp: future }).replace(/[^.]*$/, '')}`,
    ],
    [
      'another algorithm',
      handmade({ alg: 'HS512' }, { tenants: '*', access: 'admin', exp: future }, SECRET, 'sha512'),
    ],
    ['an expired token', handmade(HS256, { tenants: '*', access: 'admin', exp: future - 3600 })],
    [
      'a token not valid yet',
      handmade(HS256, { tenants: '*', access: 'admin', nbf: future, exp: future + 60 }),
    ],
    ['an unknown level', handmade(HS256, { tenants: '*', access: 'root', exp: future })],
    ['no level', handmade(HS256, { tenants: '*', exp: future })],
    ['no tenants', handmade(HS256, { access: 'read', exp: future })],
    ['tenants that are one string', handmade(HS256, { tenants: 'acme', access: 'read', exp: future })],
    ['tenants of another type', handmade(HS256, { tenants: [1], access: 'read', exp: future })],
    ['an unknown right', handmade(HS256, { tenants: '*', rights: ['read', 'root'], exp: future })],
    ['rights that are one string', handmade(HS256, { tenants: '*', rights: 'read', exp: future })],
    ['level and rights', handmade(HS256, { tenants: '*', access: 'admin', rights: ['read'], exp: future })],
    ['neither exp nor iat', handmade(HS256, { tenants: '*', access: 'admin' })],
    ['a huge token', 'a'.repeat(20_000)],
  ])('refuses %s', async (_, token) => {
    await expect(verifyToken(SECRET, token)).rejects.toMatchObject({ code: 'UNAUTHENTICATED', status: 401 });
  });

  it('expire', async () => {
    const token = await signToken(SECRET, { tenants: '*', access: 'read' }, { expiresInMs: -60_000 });
    await expect(verifyToken(SECRET, token)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      message: 'The token has expired.',
    });
  });

  it('without exp end some time after their iat, or are refused where that is 0', async () => {
    const day = 24 * 60 * 60;
    const old = (days: number) =>
      handmade(HS256, { tenants: '*', access: 'read', iat: future - 600 - days * day });
    expect(await verifyToken(SECRET, old(29))).toMatchObject({
      expiresAtMs: (future - 600 + day) * 1_000,
    });
    await expect(verifyToken(SECRET, old(31))).rejects.toMatchObject({ message: 'The token has expired.' });
    await expect(verifyToken(SECRET, old(2), day * 1_000)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
    await expect(verifyToken(SECRET, old(0), 0)).rejects.toMatchObject({
      message: 'The token has no "exp".',
    });
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
  const acme = { tenants: ['acme'], rights: RIGHTS_OF.write };

  it('lets a level do what lower levels may', () => {
    assertAccess(acme, 'read', 'acme');
    assertAccess(acme, 'write', 'acme');
    assertAccess({ tenants: '*', rights: RIGHTS_OF.admin }, 'write', 'any');
    assertAccess({ tenants: '*', rights: ['import'] }, 'import', 'any');
  });

  it('refuses another tenant and a right that it has not', () => {
    expect(() => assertAccess({ tenants: '*', rights: ['read'] }, 'export', 'acme')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN', details: { needs: 'export' } }),
    );
    expect(() => assertAccess(acme, 'read', 'globex')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
    expect(() => assertAccess(acme, 'admin:tenants', 'acme')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
    expect(() => assertAccess({ tenants: [], rights: RIGHTS_OF.admin }, 'read', 'acme')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
  });
});
