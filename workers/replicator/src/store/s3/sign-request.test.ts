import { expect, it } from 'vitest';
import { RequestSigner } from './sign-request.ts';

/* The examples of the Amazon S3 API reference, "Signature calculations for the authorization header". */

const settings = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  region: 'us-east-1',
};
const BUCKET = 'http://examplebucket.s3.amazonaws.com';
const NOW = new Date('2013-05-24T00:00:00Z');

function sign(method: string, path: string, headers: Record<string, string> = {}, body?: string) {
  const request = { method, url: new URL(path, BUCKET), headers, body: body && Buffer.from(body) };
  return new RequestSigner(settings).sign({ ...request, body: request.body || undefined }, NOW);
}

it.each([
  [
    'GET with a range',
    sign('GET', '/test.txt', { range: 'bytes=0-9' }),
    'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  ],
  [
    'PUT',
    sign(
      'PUT',
      '/test%24file.text',
      { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      'Welcome to Amazon S3.',
    ),
    '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  ],
  [
    'a query without a value',
    sign('GET', '/?lifecycle'),
    'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  ],
  [
    'LIST',
    sign('GET', '/?max-keys=2&prefix=J'),
    '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  ],
])('signs %s as the reference does', (_, headers, signature) => {
  expect(headers['authorization']).toMatch(
    new RegExp(`^AWS4-HMAC-SHA256 Credential=.*Signature=${signature}$`),
  );
});

it('leaves the body to TLS, and has the token of a session', () => {
  const signer = new RequestSigner({ ...settings, sessionToken: 'token' });
  const headers = signer.sign({ method: 'PUT', url: new URL('https://s3.test/b/k'), body: Buffer.of(1) });
  expect(headers).toMatchObject({
    ...{ 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'x-amz-security-token': 'token', host: 's3.test' },
    authorization: expect.stringContaining(
      'SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token',
    ),
  });
});

it('has another key on another day', () => {
  const signer = new RequestSigner(settings);
  const request = { method: 'GET', url: new URL('/k', BUCKET) };
  const first = signer.sign(request, NOW);
  const next = signer.sign(request, new Date('2013-05-25T00:00:00Z'));
  expect(next['authorization']).not.toBe(first['authorization']);
  expect(next['authorization']).toContain('/20130525/');
  expect(signer.sign(request, NOW)).toEqual(first);
});
