import { readdirSync, readFileSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Stack, type StartStackOptions, spawnProcess, startStack, waitFor } from '@onewriter/testkit';
import { describe, expect, it, onTestFinished } from 'vitest';

/* More tenants than a process may have files open: `ulimit -n 256` and 200 tenants, three descriptors each. */

const DESCRIPTORS = 256;
const TENANTS = 200;
const APP = fileURLToPath(new URL('./few-descriptors-app.js', import.meta.url));

async function startLimited(options: StartStackOptions = {}): Promise<Stack> {
  const stack = await startStack({ maxDescriptors: DESCRIPTORS, ...options });
  onTestFinished(async () => void (await stack.stop()));
  return stack;
}

/** Runs the application under the same limit; what it prints. */
async function runApp({ redisUrl, dataDir }: Stack, action: string, ...more: string[]) {
  const args = [process.execPath, APP, redisUrl, dataDir, action, ...more];
  const app = await spawnProcess('bash', ['-c', 'ulimit -n "$0"; exec "$@"', String(DESCRIPTORS), ...args]);
  onTestFinished(async () => void (await app.stop()));
  const { code } = await app.exited;
  expect(app.stderr()).toBe('');
  expect(code).toBe(0);
  return JSON.parse(app.stdout());
}

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

/** Redis was reached all the time, and all processes are those that were started. */
function expectUnharmed(stack: Stack): void {
  expect(stack.logs()).not.toMatch(/EMFILE|too many open files/i);
  expect(stack.currentPids()).toEqual(stack.pids);
}

describe('200 tenants with 256 descriptors a process', () => {
  it('are written and read at the bounds that are chosen from the limit', async () => {
    const stack = await startLimited();
    expect(readFileSync(`/proc/${stack.pids.broker}/limits`, 'utf8')).toMatch(/open files +256 +256/);
    const found = await runApp(stack, 'write-and-read', String(TENANTS));
    expect(found).toMatchObject({ codes: {}, read: 2 * TENANTS });
    expect(found.openFiles).toBeLessThan(DESCRIPTORS / 2);
    // What is reserved is free.
    expect(descriptorsOf(stack.pids.broker)).toBeLessThan(DESCRIPTORS - 48);
    expectUnharmed(stack);
  });

  it('are written and read where settings ask for more than may be open', async () => {
    const stack = await startLimited({ env: { ONEWRITER_MAX_OPEN_TENANTS: '500' } });
    const found = await runApp(stack, 'write-and-read', String(TENANTS), '1000');
    expect(found).toMatchObject({ codes: {}, read: 2 * TENANTS });
    expectUnharmed(stack);
  });

  it('are read through a gateway that has many connections', async () => {
    const stack = await startLimited();
    await runApp(stack, 'write-and-read', String(TENANTS));
    const sockets = await openConnections(new URL(stack.gatewayUrl), DESCRIPTORS);
    const headers = { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' };
    for (const socket of sockets.splice(0, 10)) socket.destroy();
    const read = async (index: number, sql: string) => {
      const body = JSON.stringify({ sql });
      const response = await fetch(`${stack.gatewayUrl}/v1/tenants/t-${index}/query`, {
        method: 'POST',
        headers,
        body,
      });
      return { status: response.status, body: await response.json() };
    };
    for (let index = 0; index < TENANTS; index++) {
      // By its key here, and what may take long in another process.
      expect(await read(index, 'SELECT n FROM t WHERE rowid = 2')).toMatchObject({ status: 200 });
      expect(await read(index, 'SELECT count(*) FROM t')).toMatchObject({ status: 200 });
    }
    expect(descriptorsOf(stack.pids.gateway)).toBeLessThan(DESCRIPTORS - 32);
    expectUnharmed(stack);
  });

  it('say that no file can be opened where there is none to close, and only then', async () => {
    const stack = await startLimited();
    await runApp(stack, 'write-and-read', '3');
    const found = await runApp(stack, 'fill-and-read', '3');
    expect(found).toEqual({
      withNothingToClose: { code: 'TOO_MANY_OPEN_FILES', retryable: true, retryAfterMs: 500 },
      withRoom: [2, 2],
      withSomeToClose: 2,
    });
  });
});

/** Opens so many connections, of which the gateway keeps those that it may. */
async function openConnections({ hostname, port }: URL, count: number): Promise<Socket[]> {
  let closed = 0;
  const sockets = Array.from({ length: count }, () => {
    const socket = connectSocket({ host: hostname, port: Number(port) });
    socket.on('close', () => closed++);
    socket.on('error', () => {}); // it is closed then
    onTestFinished(() => void socket.destroy());
    return socket;
  });
  await waitFor(() => sockets.every(socket => !socket.connecting) && closed > 0, {
    timeoutMs: 10_000,
    what: 'connections that are refused',
  });
  return sockets.filter(socket => !socket.destroyed);
}
