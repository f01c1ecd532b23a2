import { gzipSync } from 'node:zlib';
import { Hono } from 'hono';
import { expect, it } from 'vitest';
import type { GatewayEnv } from '../gateway-env.ts';
import { asOnewriterError } from '../http/error-response.ts';
import { decodeBody } from './decode-body.ts';

async function send(body: Uint8Array<ArrayBuffer>, encoding: string, maxBytes = 1_000_000): Promise<string> {
  const app = new Hono<GatewayEnv>();
  app.post('/', async c => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of decodeBody(c, maxBytes) ?? []) chunks.push(chunk);
    return c.body(Buffer.concat(chunks).toString());
  });
  app.onError((error, c) => c.text(asOnewriterError(error).code));
  const response = await app.request('/', {
    method: 'POST',
    body,
    headers: { 'content-encoding': encoding },
  });
  return response.text();
}

it('unpacks gzip, up to its bound, and nothing else', async () => {
  const rows = '{"a":1}\n'.repeat(20_000);
  expect((await send(gzipSync(rows), 'gzip')) === rows).toBe(true);
  expect(await send(gzipSync(rows), 'GZIP', 100_000)).toBe('PAYLOAD_TOO_LARGE');
  expect(await send(Buffer.from(rows), 'identity')).toHaveLength(rows.length);
  expect(await send(gzipSync(rows).subarray(0, 50), 'gzip')).toBe('INVALID_ARGUMENT');
  expect(await send(Buffer.from(rows), 'gzip')).toBe('INVALID_ARGUMENT');
  for (const encoding of ['br', 'gzip, gzip', 'deflate', ''])
    expect([encoding, await send(Buffer.from(rows), encoding)]).toEqual([encoding, 'UNSUPPORTED_MEDIA_TYPE']);
});
