import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openHttpServer } from './http-server.ts';
import { createLogger } from './logger.ts';

const TIMEOUT_MS = 150;

/** A server that answers when a request has arrived; GET /stream lasts twice the timeout. */
async function open(maxConnections?: number) {
  const server = await openHttpServer(
    (request, response) => {
      if (request.url === '/large') {
        response.end(Buffer.alloc(64 * 1024 * 1024));
        return;
      }
      if (request.url === '/stream') {
        response.write('begin ');
        setTimeout(() => response.end('end'), 2 * TIMEOUT_MS);
        return;
      }
      request.resume().once('end', () => response.end('arrived'));
    },
    {
      port: 0,
      host: '127.0.0.1',
      log: createLogger('test', 'silent'),
      mayStream: request => request.url === '/upload',
      requestTimeoutMs: TIMEOUT_MS,
      answerStallMs: TIMEOUT_MS,
      maxConnections,
    },
  );
  onTestFinished(() => server.close(0));
  return server;
}

/** Sends a request whose body comes in two halves, and reads until the server closes. */
async function sendSlowly(port: number, path: string, pauseMs: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.setEncoding('utf8').on('data', text => {
    answer += text;
  });
  socket.on('error', () => {}); // the server may have closed before the second half
  const closed = once(socket, 'close');
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab`);
  await pause(pauseMs);
  socket.write('cd');
  await closed;
  return answer;
}

describe('openHttpServer', () => {
  it('ends the answer of a connection that breaks, and begins none of the requests behind it', async () => {
    let begun = 0;
    let ended = 0;
    const server = await openHttpServer(
      (_request, response) => {
        begun++;
        response.once('close', () => ended++);
        response.end(Buffer.alloc(1024 * 1024));
      },
      { port: 0, host: '127.0.0.1', log: createLogger('test', 'silent') },
    );
    onTestFinished(() => server.close(0));
    const socket = connect(server.port, '127.0.0.1').pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(50));
    // Some fit into the buffers of the system.
    await expect.poll(() => begun).toBeGreaterThan(ended);
    socket.destroy();
    await expect.poll(() => ended).toBe(begun);
    const unrelated = await fetch(`http://127.0.0.1:${server.port}/`);
    await unrelated.arrayBuffer();
    await expect.poll(() => ended).toBe(begun);
    expect(begun).toBeLessThan(50);
  });

  it('closes a connection with too many requests that are not answered', async () => {
    const { port } = await open();
    const pipeline = async (count: number) => {
      const socket = connect(port, '127.0.0.1');
      let answers = '';
      socket.setEncoding('latin1').on('data', text => {
        answers += text;
      });
      socket.on('error', () => {}); // it may be closed while more is sent
      const closed = once(socket, 'close');
      const request = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
      socket.write(request.repeat(count - 1) + request.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      await closed;
      return answers.split('arrived').length - 1;
    };
    expect(await pipeline(100)).toBe(100);
    expect(await pipeline(1_000)).toBeLessThan(100);
    expect(await pipeline(1)).toBe(1);
  });

  it('begins the requests of one connection one after the other, and those of others in between', async () => {
    const order: string[] = [];
    const server = await openHttpServer(
      (request, response) => {
        order.push(request.url!);
        response.end('x');
      },
      { port: 0, host: '127.0.0.1', log: createLogger('test', 'silent') },
    );
    onTestFinished(() => server.close(0));
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const hostile = connect(server.port, '127.0.0.1');
    const honest = connect(server.port, '127.0.0.1');
    onTestFinished(() => void hostile.destroy());
    onTestFinished(() => void honest.destroy());
    await Promise.all([once(hostile, 'connect'), once(honest, 'connect')]);
    hostile.write(request('/hostile').repeat(100));
    honest.write(request('/honest'));
    await once(honest, 'data');
    // In one packet's turn all 100 would have begun.
    expect(order.length).toBeLessThan(50);
  });

  it('begins none behind an answer that is not read', async () => {
    let begun = 0;
    const server = await openHttpServer(
      (_request, response) => {
        begun++;
        response.end(Buffer.alloc(32 * 1024 * 1024));
      },
      { port: 0, host: '127.0.0.1', log: createLogger('test', 'silent') },
    );
    onTestFinished(() => server.close(0));
    const socket = connect(server.port, '127.0.0.1').pause();
    onTestFinished(() => void socket.destroy());
    await once(socket, 'connect');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(10));
    await expect.poll(() => begun).toBe(1);
    const other = await fetch(`http://127.0.0.1:${server.port}/`);
    await other.arrayBuffer();
    expect(begun).toBe(2);
    let bytes = 0;
    socket.on('data', chunk => {
      bytes += chunk.length;
    });
    socket.resume();
    await expect.poll(() => bytes, { timeout: 10_000 }).toBeGreaterThan(320 * 1024 * 1024);
    expect(begun).toBe(11);
  });

  it('ends a request that does not arrive in time', async () => {
    const { port } = await open();
    expect(await sendSlowly(port, '/', 3 * TIMEOUT_MS)).toMatch(/^HTTP\/1.1 408 /);
    expect(await sendSlowly(port, '/', 10)).toMatch(/arrived$/);
  });

  it('leaves alone what may stream, in either direction', async () => {
    const { port } = await open();
    expect(await sendSlowly(port, '/upload', 3 * TIMEOUT_MS)).toMatch(/arrived$/);
    const response = await fetch(`http://127.0.0.1:${port}/stream`);
    expect(await response.text()).toBe('begin end');
  });

  it('breaks off an answer that is not read, but not one that is read slowly', async () => {
    const { port } = await open();
    const ask = async () => {
      const socket = connect(port, '127.0.0.1');
      onTestFinished(() => void socket.destroy());
      socket.on('error', () => {}); // the server breaks it off
      await once(socket, 'connect');
      socket.write('GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      return socket;
    };
    const slow = await ask();
    let bytes = 0;
    slow.on('data', chunk => {
      bytes += chunk.length;
      slow.pause();
      setTimeout(() => slow.resume(), 1);
    });
    const taken = once(slow, 'end');
    const stalled = await ask();
    await pause(4 * TIMEOUT_MS);
    let held = 0;
    stalled.on('data', chunk => {
      held += chunk.length;
    });
    await once(stalled, 'close');
    expect(held).toBeLessThan(64 * 1024 * 1024);
    await taken;
    expect(bytes).toBeGreaterThan(64 * 1024 * 1024);
  });

  it('closes the connection that was idle for the longest where there are too many, and none with a request', async () => {
    const { port } = await open(3);
    const ask = async (socket: Socket, path: string) => {
      const answered = once(socket, 'data');
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      return String((await answered)[0]);
    };
    const openSocket = async () => {
      const socket = connect(port, '127.0.0.1');
      onTestFinished(() => void socket.destroy());
      socket.on('error', () => {}); // it may be closed by the server
      await once(socket, 'connect');
      return socket;
    };
    const [first, second, third] = [await openSocket(), await openSocket(), await openSocket()];
    const isClosed = (socket: Socket) => once(socket, 'close');
    // The first has asked last of all.
    for (const socket of [second, third, first]) expect(await ask(socket, '/')).toContain('200 OK');
    const closed = isClosed(second);
    const fourth = await openSocket();
    await closed;
    expect(await ask(fourth, '/')).toContain('200 OK');
    for (const socket of [first, third, fourth]) expect(await ask(socket, '/stream')).toContain('200 OK');
    const fifth = await openSocket();
    await isClosed(fifth);
    expect([first, third, fourth].map(socket => socket.destroyed)).toEqual([false, false, false]);
  });
});

it('names the port in use and the setting that has it', async () => {
  const first = await open();
  const options = { port: first.port, host: '127.0.0.1', log: createLogger('test', 'silent') };
  const second = openHttpServer(() => {}, {
    ...options,
    settings: { port: 'ONEWRITER_GATEWAY_PORT', host: 'ONEWRITER_HOST' },
  });
  await expect(second).rejects.toMatchObject({
    code: 'MISCONFIGURED',
    details: { reason: 'EADDRINUSE' },
    message: expect.stringMatching(`Port ${first.port} is in use .*ONEWRITER_GATEWAY_PORT, or 0`),
  });
  const elsewhere = openHttpServer(() => {}, {
    ...options,
    host: '192.0.2.1',
    settings: { port: 'ONEWRITER_GATEWAY_PORT', host: 'ONEWRITER_HOST' },
  });
  await expect(elsewhere).rejects.toMatchObject({
    message: expect.stringMatching(/192\.0\.2\.1.*ONEWRITER_HOST/),
  });
});
