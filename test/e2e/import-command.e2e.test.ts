import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  CLI_MAIN,
  type SpawnedProcess,
  spawnProcess,
  temporaryDirectory,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/*
 * `onewriter import` as a process, before a server in the gateway's place: what it takes of the machine, and how it ends. What it
 * loads: loads.e2e.test.ts, imports.e2e.test.ts.
 */

/** Larger than all that the command needs. */
const LARGE_MIB = 384;

let data: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  data = await temporaryDirectory('import-command');
});
afterAll(() => data?.remove());

/** @returns its URL */
async function startStandIn(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** @param shell lines that end with `exec "$@"` */
async function begin(gateway: string, args: readonly string[], shell = 'exec "$@"'): Promise<SpawnedProcess> {
  const env = {
    ...withoutSettings(),
    ONEWRITER_DATA_DIR: data.path,
    ONEWRITER_GATEWAY_URL: gateway,
    ONEWRITER_TOKEN: 'token',
  };
  const command = ['sh', process.execPath, CLI_MAIN, 'import', ...args];
  const started = await spawnProcess('sh', ['-c', shell, ...command], { env, cwd: data.path });
  onTestFinished(async () => void (await started.stop()));
  return started;
}

describe.each([
  ['a load', 'sql', []],
  ['an import', 'csv', ['--table', 't']],
])('%s', (_, format, options) => {
  it('does not hold the file that it sends in memory', async () => {
    const path = join(data.path, `large.${format}`);
    writeFileSync(path, '');
    truncateSync(path, LARGE_MIB * 1024 * 1024);
    let peakMib = 0;
    const gateway = await startStandIn((request, response) => {
      request.resume().on('end', () => {
        const status = readFileSync(`/proc/${command.pid}/status`, 'utf8');
        peakMib = Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024;
        response.end('{"event":"failed","error":{"code":"ABORTED","message":"It has arrived."}}\n');
      });
    });
    const command = await begin(gateway, ['acme', path, ...options]);
    await command.exited;
    expect(command.stderr()).toMatch(/It has arrived/);
    expect(peakMib).toBeGreaterThan(0);
    expect(peakMib).toBeLessThan(LARGE_MIB);
  });

  it('ends when it is refused, although its input has no end', async () => {
    const gateway = await startStandIn((request, response) => {
      request.resume();
      response.writeHead(401).end('{"error":{"code":"UNAUTHENTICATED","message":"no"}}');
    });
    // It has the pipe open for writing, too.
    const shell = `mkfifo ${format}; exec 3<>${format}; echo n >&3; exec "$@" <&3`;
    const command = await begin(gateway, ['acme', '-', '--format', format, ...options], shell);
    expect((await command.exited).code).toBe(1);
    expect(command.stderr()).toMatch(/UNAUTHENTICATED/);
  });
});
