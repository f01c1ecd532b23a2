import { EventEmitter } from 'node:events';
import type { VerifiedToken } from '@onewriter/runtime';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import type { GatewayEnv } from '../gateway-env.ts';
import { errorResponse } from '../http/error-response.ts';
import { authenticate } from './authenticate.ts';
import { createRateLimits } from './rate-limits.ts';
import { RequestTurns } from './request-turns.ts';
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
      authenticate(
        verify,
        createRateLimits({ perToken: 0, perTenant: 0 }),
        requests,
        new UnsentAnswers(),
        new RequestTurns(),
      ),
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

  it('refuses requests and answers while those before are not taken', async () => {
    const requests = new Shares({ what: 'requests under way', total: 100 });
    const verify = async (id: string) => ({ id, tenants: [id] }) as unknown as VerifiedToken;
    const app = new Hono<GatewayEnv>();
    app.onError((error, c) => errorResponse(c, error as never));
    const limits = createRateLimits({ perToken: 0, perTenant: 0 });
    app.use(authenticate(verify, limits, requests, new UnsentAnswers(), new RequestTurns()));
    const begun: (() => void)[] = [];
    let cancelled = 0;
    app.all('/', async c => {
      await new Promise<void>(resolve => begun.push(resolve));
      return c.body(new ReadableStream({ cancel: () => void cancelled++ }), 200, { 'x-large': 'yes' });
    });
    const ask = (method: string, token = 'one') => {
      const outgoing = Object.assign(new EventEmitter(), {
        ...{ writableLength: 70 * 1024 * 1024, closed: false, req: { socket: { destroyed: false } } },
      });
      const headers = { authorization: `Bearer ${token}` };
      const response = Promise.resolve(app.request('/', { method, headers }, { outgoing }));
      return { outgoing, status: response.then(({ status }) => status), response };
    };
    const asked = [ask('GET'), ask('GET'), ask('POST')];
    await expect.poll(() => begun.length).toBe(3);
    begun[0]!();
    expect(await asked[0]!.status).toBe(200);
    // It had begun before the first answer was there; what it read is dropped.
    begun[1]!();
    expect(await asked[1]!.status).toBe(429);
    expect((await asked[1]!.response).headers.get('x-large')).toBeNull();
    expect(cancelled).toBe(1);
    // What a request has changed is said.
    begun[2]!();
    expect(await asked[2]!.status).toBe(200);
    // One that comes now does nothing.
    expect(await ask('POST').status).toBe(429);
    expect(begun).toHaveLength(3);
    const other = ask('POST', 'two');
    await expect.poll(() => begun.length).toBe(4);
    begun[3]!();
    expect(await other.status).toBe(200);
    for (const { outgoing } of [...asked, other]) outgoing.emit('close');
    const next = ask('GET');
    await expect.poll(() => begun.length).toBe(5);
    begun[4]!();
    expect(await next.status).toBe(200);
  });
});
