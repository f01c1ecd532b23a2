import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { GATEWAY_NOT_REACHABLE, GatewayClient } from './gateway-client.ts';
import { OnewriterError } from './onewriter-error.ts';

let server: Server;
let client: GatewayClient;
let answer: (response: ServerResponse, path: string) => void;

beforeEach(async () => {
  server = createServer((request, response) => answer(response, request.url!));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  client = new GatewayClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
});

const failure = (promise: Promise<unknown>): Promise<OnewriterError> =>
  promise.then(
    () => expect.unreachable('It did not fail.'),
    error => error,
  );
const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status).end(JSON.stringify(body));
const TIME = { timeoutMs: 2_000 };

it('reads the errors of /v1, of the drop-in routes, and codes that it does not know', async () => {
  const error = { code: 'TENANT_NOT_FOUND', message: 'no', details: { a: 1 }, requestId: 'r' };
  answer = response => json(response, 404, { error });
  expect(await failure(client.json('/x', { ...TIME, tenant: 'acme' }))).toMatchObject({
    code: 'TENANT_NOT_FOUND',
    details: { tenant: 'acme', a: 1, requestId: 'r' },
  });
  answer = response => json(response, 409, { error: 'not now', code: 'TENANT_PAUSED' });
  expect(await failure(client.json('/x', TIME))).toMatchObject({ code: 'TENANT_PAUSED', message: 'not now' });
  answer = response => json(response, 400, { error: { code: 'OF_NEXT_YEAR', message: 'new' } });
  expect(await failure(client.json('/x', TIME))).toMatchObject({
    code: 'INTERNAL',
    message: 'new',
    details: { unknownCode: 'OF_NEXT_YEAR' },
  });
});

it('distinguishes another server from one that is away', async () => {
  for (const body of ['<html>', '{"error":"no"}', '{"error":{"code":7}}', 'null']) {
    answer = response => response.writeHead(404).end(body);
    expect((await failure(client.request('/x', TIME))).code).toBe('MISCONFIGURED');
    answer = response => response.writeHead(503).end(body);
    expect((await failure(client.request('/x', TIME))).code).toBe('TENANT_UNAVAILABLE');
  }
  answer = response => response.end('<html>');
  expect((await failure(client.json('/x', TIME))).code).toBe('MISCONFIGURED');
  answer = response => response.destroy();
  expect(await failure(client.json('/x', TIME))).toMatchObject({
    code: 'TENANT_UNAVAILABLE',
    details: { reason: GATEWAY_NOT_REACHABLE },
  });
});

it('reads only the beginning of an error that has no end', async () => {
  let broken: Promise<void> | undefined;
  answer = response => {
    broken = new Promise(resolve => response.once('close', resolve));
    response.writeHead(502);
    const write = () => {
      while (!response.destroyed && response.write('x'.repeat(1024)));
      if (!response.destroyed) response.once('drain', write);
    };
    write();
  };
  expect((await failure(client.request('/x', { timeoutMs: 10_000 }))).code).toBe('TENANT_UNAVAILABLE');
  await broken;
});

it('has a deadline for all of an answer, or for its head alone', async () => {
  answer = response => void response.write('{');
  expect((await failure(client.json('/x', { timeoutMs: 100 }))).code).toBe('TIMEOUT');
  answer = () => {};
  expect((await failure(client.request('/x', { timeoutMs: 50, streams: true }))).code).toBe('TIMEOUT');
  answer = response => {
    response.write('first');
    setTimeout(() => response.end(' last'), 300);
  };
  const streamed = await client.request('/x', { timeoutMs: 200, streams: true });
  expect(await streamed.text()).toBe('first last');
});

it('ends with the caller, also while the answer comes', async () => {
  const caller = new AbortController();
  answer = response => {
    response.write('{');
    setTimeout(() => caller.abort(), 20);
  };
  expect((await failure(client.json('/x', { ...TIME, signal: caller.signal }))).code).toBe('ABORTED');
});

it('follows a redirect only where that is allowed', async () => {
  answer = (response, path) =>
    path === '/x' ? response.writeHead(307, { location: '/y' }).end() : json(response, 200, [1]);
  expect(await client.json('/x', TIME)).toEqual([1]);
  const strict = new GatewayClient({ url: client.url, redirect: 'error' });
  expect((await failure(strict.json('/x', TIME))).details.reason).toBe(GATEWAY_NOT_REACHABLE);
});

it('lets a program say it in its own words', async () => {
  const explain = (error: OnewriterError) => new OnewriterError(error.code, `Set the URL: ${error.code}`);
  const polite = new GatewayClient({ url: client.url, explain });
  answer = response => json(response, 401, { error: { code: 'UNAUTHENTICATED', message: 'no' } });
  expect((await failure(polite.json('/x', TIME))).message).toBe('Set the URL: UNAUTHENTICATED');
  answer = response => response.destroy();
  expect((await failure(polite.json('/x', TIME))).message).toBe('Set the URL: TENANT_UNAVAILABLE');
});
