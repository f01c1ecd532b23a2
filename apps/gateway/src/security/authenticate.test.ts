import type { VerifiedToken } from '@onewriter/runtime';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { errorResponse } from '../error-response.ts';
import type { GatewayEnv } from '../gateway-env.ts';
import { authenticate } from './authenticate.ts';
import { createRateLimits } from './rate-limits.ts';
import { Shares } from './shares.ts';
import { UnsentAnswers } from './unsent-answers.ts';

describe('authenticate', () => {
  it('keeps room for other tokens while one has all the requests under way that it can', async () => {
    const requests = new Shares({ what: 'requests under way', total: 4, share: 2 });
    const verify = async (id: string) => ({ id, tenants: [id] }) as unknown as VerifiedToken;
    const app = new Hono<GatewayEnv>();
    app.onError((error, c) => errorResponse(c, error as never));
    const answers: (() => void)[] = [];
    app.get(
      '/',
      authenticate(verify, createRateLimits({ perToken: 0, perTenant: 0 }), requests, new UnsentAnswers()),
      async c => {
        await new Promise<void>(resolve => answers.push(resolve));
        return c.text('ok');
      },
    );
    const ask = async (token: string) => {
      const response = await app.request('/', { headers: { authorization: `Bearer ${token}` } });
      return response.status;
    };
    const slow = [ask('one'), ask('one')];
    await expect.poll(() => answers.length).toBe(2);
    expect(await ask('one')).toBe(429);
    const others = [ask('two'), ask('two')];
    await expect.poll(() => answers.length).toBe(4);
    for (const answer of answers) answer();
    expect(await Promise.all([...slow, ...others])).toEqual([200, 200, 200, 200]);
    expect(requests.held).toBe(0);
  });
});
