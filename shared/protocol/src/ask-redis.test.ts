import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { askRedis } from './ask-redis.ts';
import { OnewriterError } from './onewriter-error.ts';

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    error => (error instanceof OnewriterError ? error.code : error.message),
  );

/** A connection to a server that answers each command with `reply`; with none it says nothing. */
async function connectTo(reply: string | undefined): Promise<Redis> {
  const server = createServer(socket => {
    socket.on('error', () => {}).on('data', () => reply !== undefined && socket.write(reply));
    onTestFinished(() => void socket.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return connectToPort((server.address() as { port: number }).port);
}

function connectToPort(port: number): Redis {
  const redis = new Redis(port, '127.0.0.1', {
    maxRetriesPerRequest: 1,
    commandTimeout: 300,
    enableReadyCheck: false,
    disableClientInfo: true,
    retryStrategy: () => 10,
  });
  redis.on('error', () => {});
  onTestFinished(() => redis.disconnect());
  return redis;
}

it('reports an outage whether Redis is gone, silent, starting or unusable', async () => {
  const gone = connectToPort(1);
  expect(await codeOf(askRedis(() => gone.get('x')))).toBe('QUEUE_UNAVAILABLE');
  const silent = await connectTo(undefined);
  expect(await codeOf(askRedis(() => silent.get('x')))).toBe('QUEUE_UNAVAILABLE');
  const loading = await connectTo('-LOADING Redis is loading the dataset in memory\r\n');
  expect(await codeOf(askRedis(() => loading.get('x')))).toBe('QUEUE_UNAVAILABLE');
  silent.disconnect();
  expect(await codeOf(askRedis(() => silent.get('x')))).toBe('QUEUE_UNAVAILABLE');
});

it('leaves answers, faults and our own errors as they are', async () => {
  expect(await askRedis(async () => 7)).toBe(7);
  const wrong = await connectTo('-WRONGTYPE Operation against a key holding the wrong kind of value\r\n');
  expect(await codeOf(askRedis(() => wrong.get('x')))).toMatch(/^WRONGTYPE/);
  const own = new OnewriterError('TENANT_BUSY', 'Connection is closed');
  expect(await codeOf(askRedis(() => Promise.reject(own)))).toBe('TENANT_BUSY');
  expect(await codeOf(askRedis(() => Promise.reject(new TypeError('x is undefined'))))).toBe(
    'x is undefined',
  );
});
