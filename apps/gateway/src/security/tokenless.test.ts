import { parseNetworks, type VerifiedToken } from '@onewriter/runtime';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import type { GatewayEnv } from '../gateway-env.ts';
import { asOnewriterError, errorResponse } from '../http/error-response.ts';
import { authenticate } from './authenticate.ts';
import { createRateLimits } from './rate-limits.ts';
import { RequestTurns } from './request-turns.ts';
import { Shares } from './shares.ts';
import { Tokenless } from './tokenless.ts';
import { tokenlessMetrics } from './tokenless-metrics.ts';
import { UnsentAnswers } from './unsent-answers.ts';

function createDoor(cidrs: string) {
  const tokenless = new Tokenless(parseNetworks(cidrs));
  const app = new Hono<GatewayEnv>();
  app.onError((error, c) => errorResponse(c, asOnewriterError(error)));
  const verify = async () =>
    ({ id: 'known', tenants: ['acme'], rights: ['read'] }) as unknown as VerifiedToken;
  const requests = new Shares({ what: 'requests under way', total: 4 });
  const limits = createRateLimits({ perToken: 0, perTenant: 0 });
  app.get(
    '/',
    authenticate(verify, limits, requests, new UnsentAnswers(), new RequestTurns(), tokenless.access),
    c => c.json(c.get('access')),
  );
  const ask = async (remoteAddress: string | undefined, headers: Record<string, string> = {}) => {
    const response = await app.request('/', { headers }, { incoming: { socket: { remoteAddress } } });
    // biome-ignore lint/suspicious/noExplicitAny: an access or an error
    return { status: response.status, body: (await response.json()) as any };
  };
  return { tokenless, ask };
}

describe('peers without a token', () => {
  it('read and write all tenants where their network is listed, and no more', async () => {
    const { ask } = createDoor('10.0.0.0/8');
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3']) {
      const { status, body } = await ask(address);
      expect(status).toBe(200);
      expect(body).toMatchObject({
        tenants: '*',
        rights: ['read', 'write'],
        subject: `tokenless ${address}`,
      });
    }
  });

  it('are refused from anywhere else, whatever a header says', async () => {
    const { ask, tokenless } = createDoor('10.0.0.0/8');
    for (const headers of [
      {},
      { 'x-forwarded-for': '10.1.2.3' },
      { forwarded: 'for=10.1.2.3' },
      { 'x-real-ip': '10.1.2.3' },
      { 'x-client-ip': '10.1.2.3', 'true-client-ip': '10.1.2.3', host: '10.1.2.3' },
    ]) {
      const { status, body } = await ask('203.0.113.7', headers as Record<string, string>);
      expect([status, body.code]).toEqual([401, 'UNAUTHENTICATED']);
    }
    expect((await ask(undefined)).status).toBe(401);
    expect(tokenless.counts).toEqual({ admitted: 0, refused: 6 });
  });

  it.each(['x-forwarded-for', 'forwarded', 'x-real-ip', 'via', 'origin', 'sec-fetch-site'])(
    'are refused with the header %s: the peer is a proxy or a browser',
    async header => {
      const { ask } = createDoor('10.0.0.0/8');
      const { status, body } = await ask('10.1.2.3', { [header]: 'x' });
      expect([status, body.error]).toEqual([401, expect.stringContaining(header)]);
    },
  );

  it('are what their token says where they send one', async () => {
    const { ask } = createDoor('10.0.0.0/8');
    expect((await ask('10.1.2.3', { authorization: 'Bearer x' })).body.id).toBe('known');
    expect((await ask('10.1.2.3', { authorization: 'Basic eA==' })).status).toBe(401);
    expect((await ask('10.1.2.3', { authorization: '' })).status).toBe(401);
  });

  it('are refused where no network is configured', async () => {
    const { ask, tokenless } = createDoor('');
    expect((await ask('127.0.0.1')).status).toBe(401);
    expect(tokenless.counts).toEqual({ admitted: 0, refused: 0 });
  });

  it('are shown as metrics', async () => {
    const { ask, tokenless } = createDoor('10.0.0.0/8,fd00::/8');
    await ask('10.1.2.3');
    await ask('192.0.2.1');
    const samples = tokenlessMetrics(tokenless).flatMap(source => source.read());
    expect(samples.map(({ labels, value }) => [...Object.values(labels), value])).toEqual([
      ['10.0.0.0/8', 1],
      ['fd00::/8', 1],
      ['admitted', 1],
      ['refused', 1],
    ]);
  });
});
