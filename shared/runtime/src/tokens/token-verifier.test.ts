import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import { RIGHTS_OF, signToken } from './token.ts';
import { createTokenVerifier, tokenId } from './token-verifier.ts';

const SECRET = 'a-secret-for-tests-only';
const CLAIMS = { tenants: ['acme'], access: 'write' };
const RIGHTS = RIGHTS_OF.write;
const refused = { code: 'UNAUTHENTICATED' };

async function sign(alg: 'RS256' | 'EdDSA', claims: object = CLAIMS, kid?: string) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const header = kid === undefined ? { alg } : { alg, kid };
  const token = await new SignJWT({ ...claims })
    .setProtectedHeader(header)
    .setSubject('ada')
    .setIssuedAt()
    .sign(privateKey);
  return { token, publicKey, pem: await exportSPKI(publicKey), privateKey };
}

describe('createTokenVerifier', () => {
  it('accepts HS256 with the secret, and returns the same id for the same token', async () => {
    const verify = createTokenVerifier({ secret: SECRET });
    const token = await signToken(SECRET, { tenants: ['acme'], access: 'read' });
    const verified = await verify(token);
    expect(verified).toEqual({
      tenants: ['acme'],
      rights: RIGHTS_OF.read,
      id: expect.any(String),
      subject: undefined,
      jti: undefined,
      issuedAtMs: expect.any(Number),
      expiresAtMs: expect.any(Number),
    });
    expect((await verify(token)).id).toBe(verified.id);
    expect(token).not.toContain(verified.id);
  });

  it('accepts the secret before this one, too, while both are set', async () => {
    const verify = createTokenVerifier({ secret: 'the-new-secret-of-tests', previousSecret: SECRET });
    const grant = { tenants: ['acme'], access: 'read' } as const;
    for (const secret of [SECRET, 'the-new-secret-of-tests']) {
      expect(await verify(await signToken(secret, grant))).toMatchObject({ tenants: ['acme'] });
    }
    await expect(verify(await signToken('a-third-secret-of-tests', grant))).rejects.toMatchObject(refused);
    const expired = await signToken('the-new-secret-of-tests', grant, { expiresInMs: -60_000 });
    await expect(verify(expired)).rejects.toMatchObject({ message: 'The token has expired.' });
  });

  it('accepts the admin token, and nothing that is nearly it', async () => {
    const verify = createTokenVerifier({ adminToken: 'letmein-letmein-letmein' });
    expect(await verify('letmein-letmein-letmein')).toMatchObject({ tenants: '*', rights: RIGHTS_OF.admin });
    for (const token of [
      'letmein-letmein-letmei',
      'letmein-letmein-letmein ',
      '',
      'LETMEIN-letmein-letmein',
    ]) {
      await expect(verify(token)).rejects.toMatchObject(refused);
    }
  });

  it.each(['RS256', 'EdDSA'] as const)('accepts %s with the public key', async alg => {
    const { token, pem } = await sign(alg);
    const verify = createTokenVerifier({ secret: SECRET, publicKey: pem });
    expect(await verify(token)).toMatchObject({ tenants: ['acme'], rights: RIGHTS, subject: 'ada' });
    await expect(verify((await sign(alg)).token)).rejects.toMatchObject(refused);
  });

  it('never uses a public key as a secret, nor accepts a token without a signature', async () => {
    const { pem, token } = await sign('RS256');
    const verify = createTokenVerifier({ secret: SECRET, publicKey: pem });
    const forged = await new SignJWT(CLAIMS)
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuedAt()
      .sign(new TextEncoder().encode(pem));
    await expect(verify(forged)).rejects.toMatchObject(refused);
    await expect(verify(new UnsecuredJWT(CLAIMS).encode())).rejects.toMatchObject(refused);
    const [, payload, signature] = token.split('.');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    await expect(verify(`${none}.${payload}.${signature}`)).rejects.toMatchObject(refused);
    await expect(createTokenVerifier({ secret: SECRET })(token)).rejects.toMatchObject(refused);
  });

  it('accepts one text of a token only: else a revoked one stays valid in another', async () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const rsa = await sign('RS256');
    const ed = await sign('EdDSA');
    const hmac = await signToken(SECRET, { tenants: ['acme'], access: 'read' });
    const cases = [
      [hmac, createTokenVerifier({ secret: SECRET })],
      [rsa.token, createTokenVerifier({ publicKey: rsa.pem })],
      [ed.token, createTokenVerifier({ publicKey: ed.pem })],
    ] as const;
    for (const [token, verify] of cases) {
      const { id } = await verify(token);
      const last = alphabet.indexOf(token.at(-1)!);
      const sameBytes = token.slice(0, -1) + alphabet[last + 1];
      expect(Buffer.from(sameBytes, 'base64url')).toEqual(Buffer.from(token, 'base64url'));
      for (const other of [sameBytes, `${token}=`, `${token}==`, `${token} `, `${token}\n`]) {
        await expect(verify(other), JSON.stringify(other.slice(-4))).rejects.toMatchObject(refused);
        // Whichever text a person has, revoking it revokes the token.
        expect(tokenId(other)).toBe(id);
      }
      await expect(verify(token)).resolves.toMatchObject({ id });
    }
  });

  it('requires the configured issuer and audience', async () => {
    const { token, pem } = await sign('EdDSA', { ...CLAIMS, iss: 'https://id.example', aud: 'onewriter' });
    const options = { publicKey: pem, issuer: 'https://id.example' };
    expect(await createTokenVerifier({ ...options, audience: 'onewriter' })(token)).toMatchObject({
      tenants: ['acme'],
      rights: RIGHTS,
    });
    const other = createTokenVerifier({ ...options, audience: 'another-service' });
    await expect(other(token)).rejects.toMatchObject(refused);
  });

  it('refuses claims that are not ours', async () => {
    for (const claims of [{}, { tenants: 'acme', access: 'read' }, { tenants: ['acme'], access: 'root' }]) {
      const { token, pem } = await sign('EdDSA', claims);
      await expect(createTokenVerifier({ publicKey: pem })(token)).rejects.toMatchObject(refused);
    }
  });

  it('fetches a key set, and says so where it cannot', async () => {
    const { token, publicKey } = await sign('RS256', CLAIMS, 'key-1');
    const jwk = { ...(await exportJWK(publicKey)), kid: 'key-1', alg: 'RS256' };
    let status = 200;
    const server = createServer((_, response) =>
      response.writeHead(status).end(JSON.stringify({ keys: [jwk] })),
    );
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`;
    const verify = createTokenVerifier({ jwksUrl });
    expect(await verify(token)).toMatchObject({ rights: RIGHTS, subject: 'ada' });
    await expect(verify((await sign('RS256', CLAIMS, 'key-2')).token)).rejects.toMatchObject(refused);
    status = 500;
    await expect(createTokenVerifier({ jwksUrl })(token)).rejects.toMatchObject({ code: 'KEYS_UNAVAILABLE' });
  });

  it('refuses to start with a key it cannot read', () => {
    expect(() => createTokenVerifier({ publicKey: '/nowhere/key.pem' })).toThrow(/PUBLIC_KEY/);
    expect(() => createTokenVerifier({ secret: 'short' })).toThrow(/secret/);
  });
});
